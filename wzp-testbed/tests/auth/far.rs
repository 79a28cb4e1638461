//! Times that no clock can tell, as tokens and services say "never".

use serde_json::json;
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::service::{Answer, Service};

use crate::token::{SECRET, token};
use crate::{LIMIT, attempts, folder, outcome, relay, visit};

/// Two who talk while somebody comes with each of these tokens.
fn assert_harmless(loopback: Loopback, good: &str, tokens: &[String]) {
    let start = |name: &str, arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        let mut command = loopback.client("lobby", name).command(&arguments);
        command.env("WZP_TOKEN", good);
        Client::from_command(name, command).unwrap()
    };
    let listener = start("listener", &["--wait-for", "1"]);
    let talker = start("talker", &["--wait-for", "1", "--send-tone", "3"]);
    for token in tokens {
        let (exit, message) = outcome(&visit(&loopback, token));
        assert_eq!(exit, Some(0), "{message}");
    }
    let sent = talker.finish(LIMIT).unwrap().frames_sent;
    let heard = listener.leave(LIMIT).unwrap();
    assert_eq!((heard.talkers.len(), heard.talkers[0].received), (1, sent));
    assert_eq!(attempts(loopback.relay()), [2.0 + tokens.len() as f64, 0.0]);
    loopback.stop();
}

#[test]
fn a_token_for_ever_harms_nobody() {
    let folder = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let section = format!(
        "mode = 'jwt'\njwt.audience = ['relay']\njwt.secret_files = ['{}']",
        secret.display()
    );
    let ends = [json!(i64::MAX), json!(u64::MAX), json!(1e18), json!(1e300)];
    let tokens = ends.map(|end| token(json!({ "exp": end })));
    assert_harmless(relay(&folder, &section), &token(json!({})), &tokens);
}

#[test]
fn an_answer_for_ever_harms_nobody() {
    let service = Service::start(|asked| {
        let asked: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let time = asked["token"].as_str().unwrap();
        Answer::Http(200, String::new(), format!(r#"{{"allow":true,"expires_in":{time}}}"#))
    });
    let section = format!("mode = 'webhook'\nwebhook.url = '{}'", service.url("/"));
    let tokens = ["9223372036854775807", "1e18", "1e300"].map(str::to_owned);
    assert_harmless(relay(&folder(), &section), "600", &tokens);
}
