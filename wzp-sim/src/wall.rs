//! Clocks that tell the time of day, as little as a test can have them do by
//! themselves.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use quinn_proto::TimeSource;

/// That by which Retry tokens expire: however long a test takes on a busy machine, none
/// does.
pub struct Standstill;

impl TimeSource for Standstill {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// That by which the relay tells the time of day. It goes on with the world's time, and
/// can be set.
pub struct Wall(Mutex<SystemTime>);

impl Default for Wall {
    fn default() -> Self {
        Self(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)))
    }
}

impl Wall {
    /// Somebody sets the clock.
    pub fn set(&self, at: SystemTime) {
        *self.0.lock().unwrap() = at;
    }

    /// So much passes.
    pub fn go_on(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl TimeSource for Wall {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}
