//! Which hooks an interface would get, told without attaching to it: by what the driver
//! says that it can, and by what others have attached.

use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;

use super::attach::{Hook, is_ethernet, own_name};
use super::error::Error;
use crate::netlink::{self, Extent, Family, attribute, find, u16_at, u64_at};
use crate::queues::{Link, link};

/// What would count an interface's frames; on the way out it is always TCX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The interface's own name.
    pub interface: String,
    /// On the way in.
    pub rx: Hook,
    /// Why not the driver's own hook, if so.
    pub rx_fallback: Option<String>,
}

/// Of the interface of that name. A driver may refuse all the same, for its MTU or for
/// want of queues; the relay then takes TCX.
///
/// # Errors
/// There is no such interface, or frames on it could not be counted.
pub fn forecast(name: &str) -> Result<Forecast, Error> {
    let socket = UnixDatagram::unbound().map_err(Error::System)?;
    let name = own_name(&socket, name);
    let missing = |_| Error::NoSuchInterface { interface: name.to_owned() };
    let link = link(name).map_err(missing)?;
    is_ethernet(name)?;
    let reason = match attached(&link) {
        Mode::Generic => return Err(Error::GenericXdp { interface: name.to_owned() }),
        Mode::Driver => Some(io::Error::from(Errno::BUSY).to_string()),
        Mode::None => match features(link.index) {
            Ok(features) if features & BASIC == 0 => Some("the driver has no XDP".into()),
            // Where the kernel does not tell, it is tried.
            Ok(_) | Err(_) => None,
        },
    };
    let rx = if reason.is_some() { Hook::TcxIngress } else { Hook::XdpDriver };
    Ok(Forecast { interface: name.to_owned(), rx, rx_fallback: reason })
}

/// Where another's XDP program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Driver,
    Generic,
}

/// `IFLA_XDP_ATTACHED` in `IFLA_XDP` (linux/if_link.h).
fn attached(link: &Link) -> Mode {
    const XDP: u16 = 43;
    const ATTACHED: u16 = 2;
    const GENERIC: u8 = 2;
    let mode = link.attribute(XDP).and_then(|xdp| find(xdp, ATTACHED)?.first().copied());
    match mode {
        None | Some(0) => Mode::None,
        Some(GENERIC) => Mode::Generic,
        // In the driver, in the card, or in several.
        Some(_) => Mode::Driver,
    }
}

/// The driver can run XDP programs at all (`NETDEV_XDP_ACT_BASIC`, linux/netdev.h).
const BASIC: u64 = 1;

/// What a driver says of its XDP, as the family "netdev" has it since Linux 6.3.
fn features(index: u32) -> io::Result<u64> {
    const GET_DEVICE: u8 = 1;
    const INDEX: u16 = 1;
    const FEATURES: u16 = 3;
    let answer = generic(netdev()?, GET_DEVICE, &attribute(INDEX, &index.to_ne_bytes()))?;
    let features = find(&answer, FEATURES).and_then(|features| u64_at(features, 0));
    features.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The number of that family, which the kernel chooses.
fn netdev() -> io::Result<u16> {
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const ID: u16 = 1;
    const NAME: u16 = 2;
    let answer = generic(CONTROL, GET_FAMILY, &attribute(NAME, b"netdev\0"))?;
    let id = find(&answer, ID).and_then(|id| u16_at(id, 0));
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Asks a generic family; the attributes of its answer.
fn generic(family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    /// `struct genlmsghdr`: command, version, two bytes of nothing.
    const HEADER: usize = 4;
    let content = [&[command, 1, 0, 0][..], attributes].concat();
    let answer = netlink::ask(Family::Generic, family, Extent::One, &content)?.pop();
    let answer = answer.ok_or(io::ErrorKind::InvalidData)?;
    Ok(answer.get(HEADER..).unwrap_or_default().to_vec())
}
