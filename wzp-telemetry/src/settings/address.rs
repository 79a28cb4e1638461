//! Addresses to listen on, as people write them: an IP address and a port, and the two
//! short forms that need no look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// What [`parse`] takes, in words.
pub const FORM: &str = "an IP address and a port such as \"127.0.0.1:9090\" or \"[::1]:9090\", \
     \"localhost:9090\", or \":9090\" for all addresses";

/// Reads an address: `localhost` is 127.0.0.1 (RFC 6761 section 6.3), and no host at all is
/// `[::]`, which takes IPv4 too. No other name is looked up: what a program listens on must
/// not depend on who answers for a name today.
///
/// # Errors
/// What is missing or wrong, without [`FORM`].
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let missing = format!("\"{text}\" has no port");
    let is_host = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if is_host(text) {
        return Err(missing);
    }
    let (host, port) = text.rsplit_once(':').ok_or(missing)?;
    // Neither a sign nor nothing, which the parser of numbers would take or call a number.
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number);
    let port = port.ok_or_else(|| format!("\"{text}\" has no port from 0 to 65535"))?;
    let ip: IpAddr = match host {
        "" => Ipv6Addr::UNSPECIFIED.into(),
        _ if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        _ if host.parse::<Ipv6Addr>().is_ok() => {
            return Err(format!("\"{text}\" needs brackets: \"[{host}]:{port}\""));
        }
        _ => return Err(format!("\"{host}\" is no IP address")),
    };
    Ok((ip, port).into())
}

/// Writes it with an IP address.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(value: &SocketAddr, into: S) -> Result<S::Ok, S::Error> {
    value.serialize(into)
}

/// Reads one.
///
/// # Errors
/// Those of [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// A string; its title says what it stands for.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "title": "address"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_read_and_others_told_what_they_lack() {
        for (text, expected) in [
            ("127.0.0.1:9090", Ok("127.0.0.1:9090")),
            ("[::1]:9090", Ok("[::1]:9090")),
            ("[fe80::1%2]:1", Ok("[fe80::1%2]:1")),
            ("localhost:9090", Ok("127.0.0.1:9090")),
            ("LocalHost:1", Ok("127.0.0.1:1")),
            (":4433", Ok("[::]:4433")),
            (":0", Ok("[::]:0")),
            ("", Err("\"\" has no port")),
            (":", Err("\":\" has no port from 0")),
            ("9090", Err("\"9090\" has no port")),
            ("localhost", Err("\"localhost\" has no port")),
            ("127.0.0.1", Err("has no port")),
            ("[::1]", Err("\"[::1]\" has no port")),
            ("::1", Err("\"::1\" has no port")),
            ("fe80::1:99999", Err("no port from 0 to 65535")),
            ("fe80::1%eth0:1", Err("\"fe80::1%eth0\" is no IP address")),
            ("localhost:http", Err("no port from 0 to 65535")),
            (":65536", Err("no port from 0 to 65535")),
            (":+1", Err("no port from 0 to 65535")),
            ("relay.example:4433", Err("\"relay.example\" is no IP address")),
            ("*:4433", Err("\"*\" is no IP address")),
            (" :1", Err("\" \" is no IP address")),
        ] {
            match (parse(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected, "{text}"),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, _) => panic!("{text} gave {found:?}"),
            }
        }
    }
}
