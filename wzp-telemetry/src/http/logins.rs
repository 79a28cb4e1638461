//! How often a password may be tried, and who tries next. bcrypt takes a tenth of a
//! second on purpose, so one check is made at a time, and those who guess must not
//! keep the others from it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::places::Owner;
use crate::bucket::{Bucket, SECOND, now};
use crate::lock::{Mutex, MutexGuard};

/// Addresses that are remembered for having tried, and networks; of more, those are
/// forgotten that have tried least. At 48 bytes each.
const MOST_ADDRESSES: usize = 4096;

/// A network that has tried as often as so many addresses may comes last.
const ADDRESSES_OF_A_NETWORK: u64 = 16;

/// All tries of a listener.
pub(super) struct Logins {
    tries: Mutex<Tries>,
    turns: Arc<Turns>,
}

struct Tries {
    addresses: Counts,
    networks: Counts,
}

/// Tries by who made them.
struct Counts {
    per_minute: u64,
    of: HashMap<IpAddr, Bucket>,
}

/// How far a network is from not having tried at all, and in it an address: nanoseconds.
type Tried = (u64, u64);

impl Logins {
    pub(super) fn new(tries_per_minute: u32) -> Self {
        let counts = |per_minute| Counts { per_minute, of: HashMap::new() };
        let per_minute = u64::from(tries_per_minute.max(1));
        let tries = Tries {
            addresses: counts(per_minute),
            networks: counts(per_minute.saturating_mul(ADDRESSES_OF_A_NETWORK)),
        };
        Self { tries: Mutex::new(tries), turns: Arc::default() }
    }

    /// Waits for the right to check one password that came from `address`.
    ///
    /// # Errors
    /// It has tried too often: when it may again.
    pub(super) async fn turn(&self, address: IpAddr) -> Result<Turn, Duration> {
        let tried = self.count(address, now())?;
        Ok(self.turns.wait(tried).await)
    }

    /// Counts a try.
    fn count(&self, address: IpAddr, now: u64) -> Result<Tried, Duration> {
        // They are whole after every change, so a panic elsewhere is no harm.
        let mut tries = self.tries.lock();
        let by_address = tries.addresses.count(address, now).map_err(Duration::from_nanos)?;
        // It is not refused for what its neighbours do, it comes after others.
        let by_network = tries.networks.count(address.network(), now).unwrap_or(u64::MAX);
        Ok((by_network, by_address))
    }
}

impl Counts {
    /// Counts a try, and gives how far this one is from not having tried at all, or when it
    /// may again.
    fn count(&mut self, one: IpAddr, now: u64) -> Result<u64, u64> {
        let Self { per_minute, of } = self;
        if of.len() >= MOST_ADDRESSES && !of.contains_key(&one) {
            of.retain(|_, bucket| bucket.missing_at(now) > 0);
            let least = of.iter().min_by_key(|(_, bucket)| bucket.missing_at(now));
            let least = least.map(|(one, _)| *one).filter(|_| of.len() >= MOST_ADDRESSES);
            least.and_then(|least| of.remove(&least));
        }
        let bucket = of.entry(one).or_insert_with(|| Bucket::new(60 * SECOND, *per_minute));
        bucket.try_take_at(now)?;
        Ok(bucket.missing_at(now))
    }
}

/// Who checks a password now, and who waits for it.
#[derive(Default)]
struct Turns(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    taken: bool,
    /// With what has been tried before.
    waiting: Vec<(Tried, oneshot::Sender<Turn>)>,
}

/// The right to check one password. The next has it when this is dropped.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    async fn wait(self: &Arc<Self>, tried: Tried) -> Turn {
        let come = {
            let mut state = self.state();
            if !state.taken {
                state.taken = true;
                return Turn(self.clone());
            }
            let (turn, come) = oneshot::channel();
            state.waiting.retain(|(_, waiting)| !waiting.is_closed());
            state.waiting.push((tried, turn));
            come
        };
        // Each turn is passed on when it ends, so this one comes.
        come.await.unwrap_or_else(|_| Turn(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }
}

impl Drop for Turn {
    /// Whose network has tried least is next, there whose address has, and of several the
    /// last to come: sixty who guess from sixty addresses do not make the sixty-first wait
    /// for all of them.
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let waiting = state.waiting.iter().enumerate().rev();
            let next = waiting.min_by_key(|(_, (tried, _))| *tried).map(|(place, _)| place);
            let next = next.map(|place| state.waiting.remove(place));
            state.taken = next.is_some();
            next
        };
        if let Some((_, next)) = next {
            // Who has given up drops it, and so it goes on.
            let _ = next.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[test]
    fn an_address_tries_so_often_and_no_other_pays_for_it() {
        let logins = Logins::new(3);
        let tries = |of, at| (0..5).filter(|_| logins.count(address(of), at).is_ok()).count();
        assert_eq!((tries(1, 0), tries(2, 0)), (3, 3));
        let wait = logins.count(address(1), SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_secs(19));
        assert_eq!((tries(1, 20 * SECOND), tries(1, 120 * SECOND)), (1, 3));
    }

    #[test]
    fn who_guesses_from_a_whole_network_comes_after_others() {
        let logins = Logins::new(1);
        let first = logins.count(address(256), 0).unwrap();
        let crowd: Vec<_> =
            (0..20).map(|number| logins.count(address(number), 0).unwrap()).collect();
        assert!(crowd.is_sorted() && crowd[0] <= first && crowd[1] > first);
        assert_eq!(crowd[19].0, u64::MAX, "more than 16 addresses' worth");
    }

    #[test]
    fn addresses_are_bounded_and_who_has_tried_most_is_remembered() {
        let logins = Logins::new(2);
        let most = MOST_ADDRESSES as u32;
        while logins.count(address(0), 0).is_ok() {}
        for number in 1..=2 * most {
            logins.count(address(number), 0).unwrap();
        }
        assert_eq!(logins.tries.lock().addresses.of.len(), MOST_ADDRESSES);
        assert!(logins.count(address(0), 0).is_err(), "it was forgotten");
        logins.count(address(0), 600 * SECOND).unwrap();
        logins.count(address(3 * most), 600 * SECOND).unwrap();
        assert!(logins.tries.lock().addresses.of.len() <= MOST_ADDRESSES);
    }

    #[test]
    fn who_has_tried_least_is_next_and_then_who_came_last() {
        let turns = Arc::new(Turns::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(turns.wait((0, 9)));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("it is free") };
        let mut waits: Vec<_> = [(0, 2), (0, 1), (0, 1), (1, 0), (0, 1)]
            .map(|tried| Box::pin(turns.wait(tried)))
            .into();
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut context).is_pending());
        }
        // The last has given up.
        waits.pop();
        let mut turn = first;
        for expected in [2, 1, 0, 0] {
            drop(turn);
            let ready = waits.iter_mut().enumerate().rev().find_map(|(place, wait)| {
                match wait.as_mut().poll(&mut context) {
                    Poll::Ready(turn) => Some((place, turn)),
                    Poll::Pending => None,
                }
            });
            let (place, next) = ready.expect("somebody is next");
            assert_eq!(place, expected);
            drop(waits.remove(place));
            turn = next;
        }
        drop(turn);
        assert!(!turns.state().taken);
    }
}
