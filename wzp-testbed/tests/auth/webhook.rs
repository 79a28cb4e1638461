//! A service of the operator decides.

use std::net::TcpListener;

use serde_json::{Value, json};
use wzp_testbed::client::Client;
use wzp_testbed::service::{Answer, Asked, Service};

use crate::{LIMIT, attempts, failures, folder, outcome, relay, visit};

/// Answers by what the token says.
fn answer(asked: &Asked) -> Answer {
    let question: Value = serde_json::from_str(&asked.body).unwrap();
    let ok = |body: Value| Answer::Http(200, String::new(), body.to_string());
    match question["token"].as_str().unwrap() {
        "yes" => ok(json!({"allow": true})),
        "short" => ok(json!({"allow": true, "expires_in": 1})),
        "unpaid" => ok(json!({"allow": false, "reason": "the bill is not paid"})),
        "401" => Answer::Http(401, String::new(), String::new()),
        "garbage" => Answer::Http(200, String::new(), "<html>".into()),
        "huge" => Answer::Http(200, String::new(), " ".repeat(1 << 22)),
        _ => Answer::Silence,
    }
}

#[test]
fn each_answer_of_the_service_has_its_exit_code_and_sentence() {
    let service = Service::start(answer);
    let folder = folder();
    let section = format!(
        "mode = 'webhook'\nwebhook.url = '{}'\nwebhook.timeout = '500ms'\nwebhook.breaker_failures = 100\n",
        service.url("/auth")
    );
    let loopback = relay(&folder, &section);
    let cases = [
        ("yes", 0, "", ""),
        ("unpaid", 9, "not_allowed", "the bill is not paid"),
        ("401", 9, "not_allowed", "does not let you in"),
        ("garbage", 5, "auth_unavailable", "try again"),
        ("huge", 5, "auth_unavailable", "try again"),
        ("silence", 5, "auth_unavailable", "try again"),
    ];
    for (token, expected, code, sentence) in cases {
        let (exit, message) = outcome(&visit(&loopback, token));
        assert_eq!(exit, Some(expected), "{token}: {message}");
        assert!(message.contains(code) && message.contains(sentence), "{token}: {message}");
    }
    assert_eq!(attempts(loopback.relay()), [1.0, 5.0]);
    assert_eq!(failures(loopback.relay(), "denied"), 2.0);
    assert_eq!(failures(loopback.relay(), "unavailable"), 3.0);
    let question: Value = serde_json::from_str(&service.asked()[0].body).unwrap();
    let expected = json!({"token": "yes", "room": "lobby", "name": "visitor", "ip": "127.0.0.1"});
    assert_eq!(question, expected);

    let mut command =
        loopback.client("lobby", "anna").command(&["--send-tone".into(), "60".into()]);
    let (exit, message) = outcome(&command.env("WZP_TOKEN", "short").output().unwrap());
    assert_eq!(exit, Some(9), "{message}");
    assert!(message.contains("token_expired"), "{message}");
    loopback.stop();
}

#[test]
fn a_service_that_hangs_does_not_touch_a_call() {
    let service = Service::start(answer);
    let folder = folder();
    let section = format!(
        "mode = 'webhook'\nwebhook.url = '{}'\nwebhook.timeout = '1s'\nwebhook.breaker_failures = 1000\n",
        service.url("/")
    );
    let loopback = relay(&folder, &section);
    let start = |name: &str, arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        let mut command = loopback.client("lobby", name).command(&arguments);
        command.env("WZP_TOKEN", "yes");
        Client::from_command(name, command).unwrap()
    };
    let listener = start("listener", &["--wait-for", "1"]);
    let talker = start("talker", &["--wait-for", "1", "--send-tone", "4"]);
    let strangers: Vec<_> = (0..10)
        .map(|number| {
            let name = format!("stranger {number}");
            let mut command = loopback.client("lobby", &name).command(&[]);
            command.env("WZP_TOKEN", format!("hang {number}"));
            Client::from_command(&name, command).unwrap()
        })
        .collect();
    for stranger in strangers {
        let log = stranger.fail(LIMIT).unwrap();
        assert!(log.contains("auth_unavailable"), "{log}");
    }
    let sent = talker.finish(LIMIT).unwrap().frames_sent;
    let heard = listener.leave(LIMIT).unwrap();
    assert_eq!((heard.talkers.len(), heard.talkers[0].lost), (1, 0));
    assert_eq!(heard.talkers[0].received, sent);
    assert_eq!(attempts(loopback.relay()), [2.0, 10.0]);
    loopback.stop();
}

#[test]
fn a_service_that_is_down_is_left_alone_and_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = folder();
    let section = format!(
        "mode = 'webhook'\nwebhook.url = 'http://{address}/'\nwebhook.breaker_failures = 2\nwebhook.breaker_pause = '1s'\n"
    );
    let loopback = relay(&folder, &section);
    for _ in 0..4 {
        let (exit, message) = outcome(&visit(&loopback, "yes"));
        assert_eq!(exit, Some(5), "{message}");
    }
    let state = |state: &str| {
        let scrape = loopback.relay().scrape().unwrap();
        scrape.sum("wzp_relay_auth_breaker_state", &[("state", state)]).unwrap()
    };
    assert_eq!(failures(loopback.relay(), "source_paused"), 2.0);
    assert_eq!(state("closed"), 1.0, "one address is no outage");
    let line = loopback.relay().logged("the auth service did not answer").unwrap();
    assert!(line.contains("refused"), "{line}");

    let _service = Service::on(TcpListener::bind(address).unwrap(), answer);
    let start = std::time::Instant::now();
    while visit(&loopback, "yes").status.code() != Some(0) {
        assert!(start.elapsed() < LIMIT, "it is not found again");
    }
    loopback.stop();
}

#[test]
fn the_flag_alone_has_a_service_decide() {
    let service = Service::start(answer);
    let loopback = wzp_testbed::loopback::Loopback::new(&["--auth-url", &service.url("/auth")]);
    assert_eq!(visit(&loopback, "yes").status.code(), Some(0));
    assert_eq!(visit(&loopback, "unpaid").status.code(), Some(9));
    assert_eq!(service.asked()[0].path, "/auth");
    loopback.stop();
}
