//! The programs, frame by frame: what they return and exactly what they count.

use wzp_common::builder::{C_TAG, Frame, PORT, cases, v4, v6};
use wzp_common::reason::{Direction, Reason};
use wzp_kernel::Totals;
use wzp_kernel::object::{PROGRAMS, TCX_EGRESS, TCX_INGRESS, XDP_INGRESS};

use crate::harness::{ALL, INGRESS, Programs, may_load, skb, totals};

/// As the program sees it: the remote end is the source on the way in.
fn seen(frame: &Frame, direction: Direction) -> Vec<u8> {
    match direction {
        Direction::Rx => frame.build(),
        Direction::Tx => frame.clone().reversed().build(),
    }
}

#[test]
fn each_kind_of_frame_is_counted_where_the_parser_says() {
    if !may_load("each_kind_of_frame_is_counted_where_the_parser_says") {
        return;
    }
    for (program, direction, pass) in ALL {
        for (case, frame, expected) in cases() {
            let case = format!("{program}: {case}");
            let mut programs = Programs::load();
            programs.flow(frame.source, 3);
            let bytes = seen(&frame, direction);
            assert_eq!(programs.run(program, &bytes), pass, "{case}");
            assert_eq!(programs.everything(), 1, "{case}");
            match expected {
                Ok(()) => {
                    let length = (bytes.len() - 4 * frame.tags.len()) as u64;
                    assert_eq!(programs.slot(3), totals(direction, 1, length), "{case}");
                }
                Err(reason) => assert_eq!(programs.reason(direction, reason), 1, "{case}"),
            }
        }
    }
}

#[test]
fn frames_that_end_early_are_short_and_pass() {
    if !may_load("frames_that_end_early_are_short_and_pass") {
        return;
    }
    let mut tagged = v4();
    tagged.tags = vec![C_TAG];
    for (program, direction, pass) in ALL {
        let programs = Programs::load();
        let mut runs = 0;
        for frame in [v4(), v6(), tagged.clone()] {
            let bytes = seen(&frame, direction);
            // The kernel does not run XDP programs on less than an Ethernet
            // header, nor the others on less than an IP header.
            let least = match program {
                XDP_INGRESS => 14,
                _ if !frame.tags.is_empty() => 15,
                _ if frame.source.is_ipv4() => 34,
                _ => 54,
            };
            for length in least..frame.header_len() + 4 * frame.tags.len() {
                assert_eq!(programs.run(program, &bytes[..length]), pass, "{program}, {length}");
                runs += 1;
            }
        }
        assert_eq!(programs.reason(direction, Reason::Short), runs, "{program}");
        assert_eq!(programs.everything(), runs, "{program}");
    }
}

#[test]
fn unknown_peers_count_as_unattributed() {
    if !may_load("unknown_peers_count_as_unattributed") {
        return;
    }
    for (program, direction, pass) in ALL {
        let mut programs = Programs::load();
        for known in ["192.0.2.7:4661", "192.0.2.8:4660", "[2001:db8::8]:4660"] {
            programs.flow(known.parse().unwrap(), 1);
        }
        let mut expected = Totals::default();
        for frame in [v4(), v6()] {
            let bytes = seen(&frame, direction);
            assert_eq!(programs.run(program, &bytes), pass, "{program}");
            expected = expected.plus(totals(direction, 1, bytes.len() as u64));
        }
        assert_eq!(programs.unattributed(), expected, "{program}");
        assert_eq!(programs.slot(1), Totals::default(), "{program}");
    }
}

#[test]
fn two_keys_may_have_one_slot() {
    if !may_load("two_keys_may_have_one_slot") {
        return;
    }
    let mut moved = v4();
    moved.source = "203.0.113.9:50000".parse().unwrap();
    for (program, direction, _) in ALL {
        let mut programs = Programs::load();
        programs.flow(v4().source, 5);
        programs.flow(moved.source, 5);
        for frame in [v4(), moved.clone(), v4()] {
            programs.run(program, &seen(&frame, direction));
        }
        assert_eq!(programs.slot(5), totals(direction, 3, 3 * 142), "{program}");
    }
}

#[test]
fn a_mapped_address_is_the_ipv4_peer() {
    if !may_load("a_mapped_address_is_the_ipv4_peer") {
        return;
    }
    let mut programs = Programs::load();
    programs.flow("[::ffff:192.0.2.7]:4660".parse().unwrap(), 2);
    programs.run(XDP_INGRESS, &v4().build());
    assert_eq!(programs.slot(2), totals(Direction::Rx, 1, 142));
}

#[test]
fn blocked_sources_are_dropped_on_the_relays_port_only() {
    if !may_load("blocked_sources_are_dropped_on_the_relays_port_only") {
        return;
    }
    for (program, pass, drop) in INGRESS {
        for frame in [v4(), v6()] {
            let mut programs = Programs::load();
            let mut neighbour = frame.clone();
            neighbour.source = match frame.source.is_ipv4() {
                true => "192.0.2.8:4660".parse().unwrap(),
                false => "[2001:db8::8]:4660".parse().unwrap(),
            };
            let mut other = frame.clone();
            other.destination.set_port(PORT + 1);
            let mut tagged = frame.clone();
            tagged.tags = vec![C_TAG];
            // A known flow is no protection.
            programs.flow(frame.source, 1);
            programs.flow(neighbour.source, 2);
            programs.block(frame.source.ip());
            let blocked = |programs: &Programs| programs.reason(Direction::Rx, Reason::Blocked);
            assert_eq!(programs.run(program, &frame.build()), drop, "{program}");
            assert_eq!(programs.run(program, &tagged.build()), drop, "{program}, tagged");
            assert_eq!(programs.run(program, &other.build()), pass, "{program}, other port");
            assert_eq!(programs.run(program, &neighbour.build()), pass, "{program}, neighbour");
            assert_eq!(blocked(&programs), 2, "{program}");
            assert_eq!(programs.slot(1), Totals::default(), "{program}");
            assert_eq!(programs.slot(2).rx_packets, 1, "{program}");
            // And nothing keeps the relay from answering.
            programs.run(TCX_EGRESS, &frame.clone().reversed().build());
            assert_eq!(programs.slot(1).tx_packets, 1, "{program}");
            assert_eq!(programs.everything(), 5, "{program}");
        }
    }
}

#[test]
fn joined_frames_count_as_the_frames_they_were() {
    if !may_load("joined_frames_count_as_the_frames_they_were") {
        return;
    }
    // 2500 bytes of payload in segments of 1200, and what they are on the wire.
    let cases = [
        ("one frame", 0, 0, 1),
        ("one segment", 1, 0, 1),
        ("one segment of a size", 1, 1200, 1),
        ("three segments", 3, 1200, 3),
        ("ten segments", 10, 250, 10),
        ("number untold", 0, 1200, 3),
        ("number untold, no rest", 0, 1250, 2),
    ];
    for (program, direction) in [(TCX_INGRESS, Direction::Rx), (TCX_EGRESS, Direction::Tx)] {
        for (case, gso_segs, gso_size, packets) in cases {
            for (what, mut frame) in [("IPv4", v4()), ("IPv6", v6())] {
                frame.payload = 2500;
                let headers = frame.header_len() as u64;
                let mut tagged = frame.clone();
                tagged.tags = vec![C_TAG];
                for frame in [frame, tagged] {
                    let mut programs = Programs::load();
                    programs.flow(frame.source, 1);
                    let context = skb(gso_segs, gso_size);
                    let bytes = seen(&frame, direction);
                    programs.run_with(program, &bytes, Some(&context), 1);
                    let expected = totals(direction, packets, 2500 + packets * headers);
                    assert_eq!(programs.slot(1), expected, "{program}, {case}, {what}");
                }
            }
        }
    }
}

#[test]
fn a_thousand_runs_count_a_thousand_times() {
    if !may_load("a_thousand_runs_count_a_thousand_times") {
        return;
    }
    for (program, direction, _) in ALL {
        let mut programs = Programs::load();
        programs.flow(v4().source, 1);
        programs.run_with(program, &seen(&v4(), direction), None, 1000);
        assert_eq!(programs.slot(1), totals(direction, 1000, 142_000), "{program}");
        let mut arp = v4();
        arp.ether_type = Some(0x0806);
        programs.run_with(program, &seen(&arp, direction), None, 1000);
        assert_eq!(programs.reason(direction, Reason::NotIp), 1000, "{program}");
    }
}

/// Plain additions lose two percent of this.
#[test]
fn processors_do_not_lose_each_others_counts() {
    if !may_load("processors_do_not_lose_each_others_counts") {
        return;
    }
    let mut programs = Programs::load();
    programs.flow(v4().source, 1);
    let mut second = v4();
    second.source.set_port(4661);
    programs.flow(second.source, 1);
    std::thread::scope(|scope| {
        for frame in [v4(), second] {
            let programs = &programs;
            scope.spawn(move || programs.run_with(XDP_INGRESS, &frame.build(), None, 200_000));
        }
    });
    assert_eq!(programs.slot(1), totals(Direction::Rx, 400_000, 400_000 * 142));
}

#[test]
fn every_combination_of_globals_loads() {
    if !may_load("every_combination_of_globals_loads") {
        return;
    }
    for port in [0, 1, PORT, u16::MAX] {
        for level in [0, 1, 2, 3, 4, 5, u8::MAX] {
            let programs = Programs::with_globals(port, level);
            let mut frame = v4();
            frame.destination.set_port(port);
            programs.run(XDP_INGRESS, &frame.build());
            assert_eq!(programs.unattributed().rx_packets, 1, "port {port}, log level {level}");
        }
    }
}

/// A change that doubles what the verifier has to do should not go unnoticed.
#[test]
fn the_programs_are_small() {
    if !may_load("the_programs_are_small") {
        return;
    }
    const MOST: u32 = 3000;
    let programs = Programs::load();
    for program in PROGRAMS {
        let instructions = programs.instructions(program);
        assert!(instructions <= MOST, "{program} has {instructions}");
    }
    let verbose = Programs::with_globals(PORT, u8::MAX);
    let quiet = programs.instructions(XDP_INGRESS);
    assert!(verbose.instructions(XDP_INGRESS) > quiet, "log statements are not removed");
}
