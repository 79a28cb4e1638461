//! Scenarios: how many talk, and how many hear them.

use serde::Serialize;

/// One load on a server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Scenario {
    /// What tables and the command line call it.
    pub(crate) name: &'static str,
    /// Rooms.
    pub(crate) rooms: u32,
    /// Members of each room.
    pub(crate) members: u32,
    /// Members of each room who talk.
    pub(crate) talkers: u32,
    /// Frames a second of one talker.
    pub(crate) rate: f64,
    /// Further rooms of as many members, in which nobody talks.
    pub(crate) idle_rooms: u32,
    /// As many rooms as keep the server busy for this share of one CPU;
    /// `rooms` is what the cost of a frame is first measured with.
    pub(crate) load_share: Option<f64>,
}

/// Frames a second of voice in frames of 20 ms.
const VOICE: f64 = 50.0;

const fn voice(name: &'static str, rooms: u32, members: u32, talkers: u32) -> Scenario {
    Scenario { name, rooms, members, talkers, rate: VOICE, idle_rooms: 0, load_share: None }
}

/// 20 calls of five, everybody talks.
pub(crate) const CALLS: Scenario = voice("calls", 20, 5, 5);
/// Four meetings of 50, four talk in each.
pub(crate) const MEETINGS: Scenario = voice("meetings", 4, 50, 4);
/// A hall of 100, 15 talk.
pub(crate) const HALL: Scenario = voice("hall", 1, 100, 15);
/// 100 calls of five, everybody talks.
pub(crate) const LOAD: Scenario = voice("load", 100, 5, 5);
/// One room of 50 who all talk.
pub(crate) const ROOM50: Scenario = voice("room50", 1, 50, 50);
/// [`CALLS`] with 380 rooms beside it in which nobody talks.
pub(crate) const CALLS_OF_400: Scenario =
    Scenario { name: "calls-of-400", idle_rooms: 380, ..CALLS };
/// As many frames as [`CALLS`] in twenty times as many rooms.
pub(crate) const SPARSE: Scenario = Scenario { name: "sparse", rooms: 400, rate: 2.5, ..CALLS };
/// [`CALLS`] beside 10,000 idle sessions.
pub(crate) const CALLS_CROWDED: Scenario =
    Scenario { name: "calls-crowded", idle_rooms: 2_000, ..CALLS };
/// As many calls as take 30 % of a CPU of this relay on a small machine.
pub(crate) const CALLS_45: Scenario = voice("calls-45", 45, 5, 5);
/// One talker in a room of 2; as many frames as [`CALLS`], as the next three.
pub(crate) const MEMBERS_2: Scenario = voice("members-2", 400, 2, 1);
/// One talker in a room of 5.
pub(crate) const MEMBERS_5: Scenario = voice("members-5", 100, 5, 1);
/// One talker in a room of 21.
pub(crate) const MEMBERS_21: Scenario = voice("members-21", 20, 21, 1);
/// One talker in a room of 101.
pub(crate) const MEMBERS_101: Scenario = voice("members-101", 4, 101, 1);
/// 2,000 sessions in rooms of five, in each of which one talks.
pub(crate) const ACTIVE_2000: Scenario = voice("active-2000", 400, 5, 1);
/// As many calls as take 30 % of a CPU.
pub(crate) const CALLS_30: Scenario =
    Scenario { name: "calls-30pct", load_share: Some(0.3), ..CALLS };
/// 1,000 sessions in rooms of five, silent.
pub(crate) const IDLE_1000: Scenario = voice("idle-1000", 200, 5, 0);
/// 10,000 sessions in rooms of five, silent.
pub(crate) const IDLE_10000: Scenario = voice("idle-10000", 2_000, 5, 0);
/// 2,000 who join as fast as the server takes them.
pub(crate) const STORM: Scenario = voice("storm-2000", 400, 5, 0);
/// 1,000 who join a room of their own each.
pub(crate) const ALONE_1000: Scenario = voice("alone-1000", 1_000, 1, 0);
/// 1,000 who join the same room.
pub(crate) const TOGETHER_1000: Scenario = voice("together-1000", 1, 1_000, 0);

/// All of them.
pub(crate) const ALL: [Scenario; 20] = [
    CALLS,
    MEETINGS,
    HALL,
    LOAD,
    ROOM50,
    CALLS_OF_400,
    SPARSE,
    CALLS_CROWDED,
    CALLS_45,
    MEMBERS_2,
    MEMBERS_5,
    MEMBERS_21,
    MEMBERS_101,
    ACTIVE_2000,
    CALLS_30,
    IDLE_1000,
    IDLE_10000,
    STORM,
    ALONE_1000,
    TOGETHER_1000,
];

impl Scenario {
    /// The scenario of that name.
    ///
    /// # Errors
    /// A sentence with the names there are.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        ALL.into_iter().find(|scenario| scenario.name == name).ok_or_else(|| {
            format!("there is none of that name; there are {}", ALL.map(|s| s.name).join(", "))
        })
    }

    /// Frames a second that the server has to send for one room.
    pub(crate) fn frames_out_per_room(&self) -> f64 {
        f64::from(self.talkers) * f64::from(self.members.saturating_sub(1)) * self.rate
    }

    /// The same scenario with as many rooms as cost `load_share` of one CPU,
    /// if it has one, at `us_per_frame`.
    pub(crate) fn sized(&self, us_per_frame: f64) -> Self {
        let Some(share) = self.load_share else { return self.clone() };
        let rooms = share * 1e6 / us_per_frame / self.frames_out_per_room();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At least 1.
        Self { rooms: rooms.round().clamp(1.0, 10_000.0) as u32, ..self.clone() }
    }

    /// The rooms of silent members beside it, as a scenario of their own.
    pub(crate) fn beside(&self) -> Option<Self> {
        let rooms = self.idle_rooms;
        (rooms > 0).then(|| Self { rooms, talkers: 0, idle_rooms: 0, ..self.clone() })
    }

    /// One line for people.
    pub(crate) fn shape(&self) -> String {
        let mut text = format!("{} x {} ({})", self.rooms, self.members, self.talkers);
        if (self.rate - VOICE).abs() > f64::EPSILON {
            text += &format!(", {} frames/s each", self.rate);
        }
        if self.idle_rooms > 0 {
            text += &format!(", beside {} silent rooms", self.idle_rooms);
        }
        if let Some(share) = self.load_share {
            text += &format!(", rooms for {:.0} % of a CPU", share * 100.0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_scenarios_send_what_the_design_says() {
        let frames =
            |scenario: Scenario| scenario.frames_out_per_room() * f64::from(scenario.rooms);
        assert_eq!(frames(CALLS), 20_000.0);
        assert_eq!(frames(MEETINGS), 39_200.0);
        assert_eq!(frames(HALL), 74_250.0);
        assert_eq!(frames(LOAD), 100_000.0);
        for scenario in [SPARSE, MEMBERS_2, MEMBERS_5, MEMBERS_21, MEMBERS_101] {
            assert_eq!(frames(scenario), frames(CALLS));
        }
    }

    #[test]
    fn rooms_follow_the_cost_of_a_frame() {
        // 30 % of a CPU at 10 us are 30,000 frames, 1,000 from each room.
        assert_eq!(CALLS_30.sized(10.0).rooms, 30);
        assert_eq!(CALLS_30.sized(1e9).rooms, 1);
        assert_eq!(CALLS.sized(10.0), CALLS);
    }

    #[test]
    fn names_are_unique_and_found() {
        for scenario in ALL {
            assert_eq!(Scenario::named(scenario.name), Ok(scenario));
        }
        assert!(Scenario::named("cals").unwrap_err().contains("calls, meetings"));
    }
}
