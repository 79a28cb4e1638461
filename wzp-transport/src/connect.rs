//! A QUIC connection to a relay that may have several addresses: all are tried,
//! one after the other but without waiting for the end of each (RFC 8305, Happy
//! Eyeballs), and the first that answers is taken.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::address::RelayAddress;
use crate::dial::{Ended, JoinError, connect};
use crate::unreachable::{Watch, unspecified};

/// Between the beginnings of two attempts at the addresses of one relay (RFC 8305
/// section 5, Connection Attempt Delay).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Between those at two relays. A room is on one of them, so a second one is
/// turned to only if the first does not answer though a lost packet was sent again,
/// which takes QUIC a second.
const NEXT_RELAY: Duration = Duration::from_millis(2500);

/// Addresses tried, of all relays together. More are no help to anybody.
const MAX_ADDRESSES: usize = 16;

/// What [`connect`] does, by a socket of its own: fails at once if the network says
/// that nobody is there.
///
/// # Errors
/// [`JoinError::Socket`], [`JoinError::Address`], [`JoinError::Unreachable`] or
/// [`JoinError::Ended`].
pub async fn dial(
    socket: UdpSocket,
    endpoint: EndpointConfig,
    config: ClientConfig,
    address: SocketAddr,
    host: &str,
) -> Result<(Endpoint, Connection), JoinError> {
    socket.set_nonblocking(true)?;
    let unreachable = |error| JoinError::Unreachable(address, error);
    let watch = Watch::new(&socket, address).map_err(unreachable)?;
    let endpoint = Endpoint::new(endpoint, None, socket, Arc::new(TokioRuntime))?;
    let connection = tokio::select! {
        connected = connect(&endpoint, config, address, host) => connected?,
        told = watch.told() => return Err(unreachable(told)),
    };
    Ok((endpoint, connection))
}

/// A connection to one of several relays.
#[derive(Debug)]
pub(crate) struct Connected {
    /// Which of the relays, by its place among them.
    pub(crate) relay: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
}

/// An address to be tried.
#[derive(Clone, Debug)]
struct Candidate {
    relay: usize,
    address: SocketAddr,
    host: String,
    /// After the attempt before it.
    delay: Duration,
}

/// A connection to the first of the relays that answers, the earlier the better.
///
/// # Errors
/// The most telling of the [`JoinError`]s, if none answers.
pub(crate) async fn first(
    relays: &[RelayAddress],
    config: &ClientConfig,
) -> Result<Connected, JoinError> {
    let mut failures = Vec::new();
    let mut candidates = Vec::new();
    for (number, relay) in relays.iter().enumerate() {
        match relay.resolve().await {
            Ok(addresses) => candidates.extend(of_relay(number, relay, addresses)),
            Err(error) => failures.push(error.into()),
        }
    }
    candidates.truncate(MAX_ADDRESSES);
    race(candidates, config, failures).await
}

/// The families take turns, beginning with that of the address that the resolver
/// prefers (RFC 8305 section 4).
fn of_relay(
    number: usize,
    relay: &RelayAddress,
    addresses: Vec<SocketAddr>,
) -> impl Iterator<Item = Candidate> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let mut others = others.into_iter();
    let mut turns = Vec::new();
    for address in preferred {
        turns.push(address);
        turns.extend(others.next());
    }
    turns.extend(others);
    let host = relay.name().to_owned();
    turns.into_iter().enumerate().map(move |(turn, address)| Candidate {
        relay: number,
        address,
        host: host.clone(),
        delay: if turn == 0 { NEXT_RELAY } else { NEXT_ADDRESS },
    })
}

async fn race(
    candidates: Vec<Candidate>,
    config: &ClientConfig,
    mut failures: Vec<JoinError>,
) -> Result<Connected, JoinError> {
    let mut waiting = candidates.into_iter();
    let mut running = JoinSet::new();
    let mut next = waiting.next();
    let mut next_at = Instant::now();
    loop {
        tokio::select! {
            Some(outcome) = running.join_next() => match outcome {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(failure)) => {
                    failures.push(failure);
                    // Nobody waits for what has failed (RFC 8305 section 5).
                    next_at = Instant::now();
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            () = sleep_until(next_at), if next.is_some() => {
                if let Some(candidate) = next.take() {
                    running.spawn(attempt(candidate, config.clone()));
                }
                next = waiting.next();
                next_at = Instant::now()
                    .checked_add(next.as_ref().map_or(NEXT_ADDRESS, |next| next.delay))
                    .unwrap_or(next_at);
            }
            else => break,
        }
    }
    Err(most_telling(failures))
}

async fn attempt(candidate: Candidate, config: ClientConfig) -> Result<Connected, JoinError> {
    let Candidate { relay, address, host, .. } = candidate;
    let socket = UdpSocket::bind(unspecified(address))?;
    let connected = dial(socket, EndpointConfig::default(), config, address, &host).await;
    connected.map(|(endpoint, connection)| Connected { relay, endpoint, connection })
}

/// What a relay said is worth more than what the network said, and that more than
/// silence. Of two that are worth the same, the first.
fn most_telling(failures: Vec<JoinError>) -> JoinError {
    let worth = |failure: &JoinError| match failure {
        JoinError::Ended(Ended::TimedOut) => 0,
        JoinError::Unreachable(..) | JoinError::Address(..) | JoinError::Socket(_) => 1,
        JoinError::Resolve(_) => 2,
        _ => 3,
    };
    let best = failures.into_iter().rev().max_by_key(worth);
    best.unwrap_or(JoinError::Ended(Ended::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::client_config;
    use crate::trust::Trust;

    fn candidates(addresses: &[&str]) -> Vec<String> {
        let relay: RelayAddress = "relay.example".parse().unwrap();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let turn = |candidate: Candidate| {
            format!("{} {}", candidate.address.ip(), candidate.delay.as_millis())
        };
        of_relay(0, &relay, addresses).map(turn).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_is_first() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["10.0.0.1:1"], &["10.0.0.1 2500"]),
            (
                &["[fd::1]:1", "[fd::2]:1", "[fd::3]:1", "10.0.0.1:1"],
                &["fd::1 2500", "10.0.0.1 250", "fd::2 250", "fd::3 250"],
            ),
            (
                &["10.0.0.1:1", "[fd::1]:1", "[fd::2]:1"],
                &["10.0.0.1 2500", "fd::1 250", "fd::2 250"],
            ),
        ];
        for (addresses, expected) in cases {
            assert_eq!(candidates(addresses), expected);
        }
    }

    #[test]
    fn what_a_relay_said_is_told_first() {
        let silence = || JoinError::Ended(Ended::TimedOut);
        let address: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let refused =
            || JoinError::Unreachable(address, std::io::ErrorKind::ConnectionRefused.into());
        let pin = || JoinError::Ended(Ended::PinMismatch);
        let cases = [
            (vec![], silence()),
            (vec![silence(), refused()], refused()),
            (vec![refused(), silence(), pin(), silence()], pin()),
        ];
        for (failures, expected) in cases {
            assert_eq!(most_telling(failures).to_string(), expected.to_string());
        }
    }

    /// By QUIC's own socket, which has the kernel tell much about every packet.
    #[tokio::test]
    async fn a_closed_port_is_not_waited_for() {
        for host in ["127.0.0.1", "[::1]"] {
            let other = UdpSocket::bind(format!("{host}:0")).unwrap();
            let relay: RelayAddress = other.local_addr().unwrap().to_string().parse().unwrap();
            drop(other);
            let config = client_config(Trust::Insecure).unwrap();
            let begun = Instant::now();
            let error = first(&[relay], &config).await.unwrap_err();
            assert!(matches!(error, JoinError::Unreachable(..)), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
}
