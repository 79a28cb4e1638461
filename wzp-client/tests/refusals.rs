//! What a relay does not take: the client, or what it sends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod program;
mod relay;

use std::net::UdpSocket;
use std::process::{Command, Output};

use program::{client, stderr, summary};
use relay::{Client, Relay, refuse, welcome};
use wzp_proto::control::Notice;
use wzp_proto::control::notice::Code;
use wzp_proto::control::relay_message::Message;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wzp-client")).args(arguments).output().unwrap()
}

/// A call and the load end with the same code, and words that are not each other's.
#[test]
fn a_relay_that_refuses_is_not_a_relay_that_is_not_there() {
    let refusing = refuse();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cases = [
        (refusing.as_str(), 5, "takes no connection from here now"),
        (closed.as_str(), 3, "nothing listens on that port"),
    ];
    for (address, code, words) in cases {
        let call = run(&["--room", "lobby", "--insecure", address]);
        let load = run(&["load", "--insecure", "--members", "2", address]);
        for output in [call, load] {
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn what_the_relay_dropped_is_counted_by_reason() {
    let notices = [
        (Code::RateLimited, 7),
        (Code::MayNotPublish, 50),
        (Code::RateLimited, 5),
        (Code::PoorReception, 0),
    ];
    let relay = || {
        Relay::start(move |mut client: Client| async move {
            client.welcome(welcome()).await;
            for (code, dropped) in notices {
                let text = format!("it is {code:?}");
                client.send(Message::Notice(Notice { code: code.into(), text, dropped })).await;
            }
            client.connection.closed().await
        })
    };
    let output = client(&relay(), &["--duration", "1", "--json"]);
    let expected = serde_json::json!([
        {"reason": "rate_limited", "times": 2, "dropped": 12},
        {"reason": "may_not_publish", "times": 1, "dropped": 50},
        {"reason": "poor_reception", "times": 1, "dropped": 0},
    ]);
    assert_eq!(summary(&output)["notices"], expected, "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("RateLimited").count(), 1, "{}", stderr(&output));

    let output = client(&relay(), &["--duration", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = "\nthe relay dropped 12 frames sent above its rate limits\n\
                 the relay dropped 50 frames sent without leave to publish\n\
                 the relay warned once that much of what it sent was lost\n";
    assert!(text.contains(lines), "{text}");
}
