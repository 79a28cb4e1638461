//! What may be sent to an address that nobody has proven to be the peer's: three
//! times what came from there (RFC 9000 section 8.1). quinn-proto lets its last
//! packet go beyond that, and takes bytes from any address for the peer's.

/// How many bytes may leave for each that came.
const FACTOR: u64 = 3;

/// The account of one address, in bytes of UDP payload.
#[derive(Debug)]
pub(crate) struct Credit {
    /// From the address.
    received: u64,
    /// What quinn-proto takes for it: all that came for the connection.
    taken: u64,
    sent: u64,
    /// Written by quinn-proto and not sent.
    withheld: u64,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may leave.
    Sent,
    /// It may not. QUIC takes it for lost.
    Withheld,
    /// It and all after it may: the address is proven.
    Proven,
}

impl Credit {
    /// A first packet of so many bytes came.
    pub(crate) fn new(length: usize) -> Self {
        let length = length as u64;
        Self { received: length, taken: length, sent: 0, withheld: 0 }
    }

    /// A packet for the connection came, from the address itself or another.
    pub(crate) fn receive(&mut self, length: usize, from_there: bool) {
        self.taken += length as u64;
        if from_there {
            self.received += length as u64;
        }
    }

    /// quinn-proto has written a packet of so many bytes.
    pub(crate) fn spend(&mut self, length: usize) -> Verdict {
        let length = length as u64;
        // Beyond its own limit quinn-proto writes only to who has proven itself.
        if self.sent + self.withheld >= FACTOR * self.taken {
            return Verdict::Proven;
        }
        if self.sent + length <= FACTOR * self.received {
            self.sent += length;
            Verdict::Sent
        } else {
            self.withheld += length;
            Verdict::Withheld
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Proven, Sent, Withheld};
    use super::*;

    #[test]
    fn no_more_leaves_than_three_times_what_came() {
        let mut credit = Credit::new(1200);
        let verdicts = [1200, 300, 1200, 900, 900].map(|length| credit.spend(length));
        assert_eq!(verdicts, [Sent, Sent, Sent, Sent, Proven], "{credit:?}");

        let mut credit = Credit::new(1200);
        let verdicts = [1200, 300, 1200, 1200].map(|length| credit.spend(length));
        assert_eq!(verdicts, [Sent, Sent, Sent, Withheld]);
        // quinn-proto is beyond its limit and writes only what it may.
        assert_eq!(credit.spend(100), Proven);

        let mut credit = Credit::new(1200);
        credit.receive(1200, false);
        let verdicts = [1200, 1200, 1200, 1200, 1200, 1200].map(|length| credit.spend(length));
        assert_eq!(verdicts, [Sent, Sent, Sent, Withheld, Withheld, Withheld]);
        credit.receive(1200, true);
        assert_eq!(credit.spend(1200), Sent, "one packet came, and three may leave");
    }
}
