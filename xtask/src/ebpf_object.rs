//! What two objects differ in: programs, what they refer to, constants and maps.
//! Types and line numbers are not looked into: a comment moves them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionFlags, elf};

/// What differs, a phrase each.
pub(crate) fn differences(old: &[u8], new: &[u8]) -> Result<Vec<String>> {
    let (old, new) = (parts(old)?, parts(new)?);
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let mut found = Vec::new();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => found.push(format!("{name} differs")),
            (Some(_), None) => found.push(format!("{name} is gone")),
            (None, _) => found.push(format!("{name} is new")),
        }
    }
    Ok(found)
}

/// Each part that matters, as text that can be compared.
fn parts(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let file = object::File::parse(bytes)?;
    let mut parts = BTreeMap::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
            continue;
        }
        let name = section.name()?;
        parts.insert(format!("section {name}"), format!("{:02x?}", section.data()?));
        let mut references = String::new();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(index)?;
            references += &format!("{offset:x} {}+{:x}\n", symbol.name()?, symbol.address());
        }
        parts.insert(format!("references of section {name}"), references);
    }
    for symbol in file.symbols().filter(|symbol| symbol.is_global()) {
        let place = format!("{:x} {:x}", symbol.address(), symbol.size());
        parts.insert(format!("symbol {}", symbol.name()?), place);
    }
    // Definitions of maps are types.
    let object = aya_obj::Object::parse(bytes).context("not an object for the kernel")?;
    for (name, map) in &object.maps {
        let definition = format!(
            "{} {} {} {} {}",
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
            map.map_flags()
        );
        parts.insert(format!("map {name}"), definition);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../../wzp-kernel/ebpf/bpfel/wzp.o");
    const OTHER: &[u8] = include_bytes!("../../wzp-kernel/ebpf/bpfel/empty.o");

    #[test]
    fn an_object_is_the_same_as_itself() {
        assert_eq!(differences(OBJECT, OBJECT).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn one_instruction_makes_a_difference() {
        let file = object::File::parse(OBJECT).unwrap();
        let (offset, _) = file.section_by_name("xdp.frags").unwrap().file_range().unwrap();
        let mut changed = OBJECT.to_vec();
        changed[usize::try_from(offset).unwrap() + 4] ^= 1;
        assert_eq!(differences(OBJECT, &changed).unwrap(), ["section xdp.frags differs"]);
    }

    #[test]
    fn a_missing_map_makes_a_difference() {
        let found = differences(OBJECT, OTHER).unwrap();
        assert!(found.contains(&"map WZP_FLOWS is gone".to_owned()), "{found:?}");
    }
}
