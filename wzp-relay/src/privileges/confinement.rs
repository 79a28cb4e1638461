//! Taking from a thread what it does not need. The threads that read packets open
//! no files and no TCP connections: Landlock (landlock(7)) forbids them both, which
//! costs nothing where nothing is opened. Receiving and sending packets passes no
//! check of it. A seccomp filter would be run at each system call of the packet
//! path, so there is none.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use thiserror::Error;

use super::capabilities;

/// The newest version of Landlock that is asked for. Older kernels give what they
/// have.
const NEWEST: ABI = ABI::V6;

/// How far a thread is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// As far as is asked for.
    Full,
    /// As far as this kernel can.
    Partial,
    /// Not: this kernel has no Landlock, or it is off.
    None,
}

impl Confinement {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

/// Why a thread is not confined.
#[derive(Debug, Error)]
pub enum ConfinementError {
    /// The kernel refuses the rules.
    #[error("Landlock: {0}")]
    Landlock(#[from] RulesetError),
    /// The kernel keeps capabilities where they are.
    #[error("capabilities: {0}")]
    Capabilities(#[from] io::Error),
}

/// Takes from the calling thread, and from those that it starts, all capabilities,
/// the opening of files, TCP, and signals to other processes.
///
/// # Errors
/// The system says no; a kernel without Landlock is no error.
pub fn confine() -> Result<Confinement, ConfinementError> {
    capabilities::give_up_all()?;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::thread;

    use super::*;

    #[test]
    fn a_confined_thread_has_its_sockets_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::write(&file, "secret").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, other) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let confinement = thread::scope(|scope| {
            let confined = scope.spawn(|| {
                let confinement = confine().unwrap();
                let permitted = rustix::thread::capabilities(None).unwrap().permitted;
                assert!(permitted.is_empty(), "{permitted:?}");
                own.send_to(b"voice", other.local_addr().unwrap()).unwrap();
                UdpSocket::bind("127.0.0.1:0").unwrap();
                if confinement != Confinement::None {
                    assert!(File::open(&file).is_err(), "reads");
                    assert!(fs::write(folder.path().join("new"), "").is_err(), "writes");
                    // Landlock knows TCP since its fourth version, Linux 6.7.
                    if confinement == Confinement::Full {
                        let address = listener.local_addr().unwrap();
                        assert!(TcpStream::connect(address).is_err(), "connects");
                        assert!(TcpListener::bind("127.0.0.1:0").is_err(), "listens");
                    }
                }
                confinement
            });
            confined.join().unwrap()
        });
        assert_eq!(other.recv(&mut [0; 9]).unwrap(), 5);
        assert_eq!(fs::read(&file).unwrap(), b"secret", "other threads are not confined");
        if confinement == Confinement::None {
            println!("this kernel has no Landlock: files were not looked at");
        }
    }
}
