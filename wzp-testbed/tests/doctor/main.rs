//! `wzp-relay doctor` finds what is wrong with a host, in real runs in which it is made
//! wrong, and says what mends it.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod certificates;
mod disks;
mod interfaces;
mod limits;
mod output;
mod place;
mod ports;

use std::fs;
use std::net::TcpListener;

use wzp_testbed::netns::{Namespace, cable};
use wzp_testbed::service::{Answer, Service};
use wzp_testbed::skip;

use place::Place;

#[test]
fn a_host_that_is_fit_has_no_error() {
    let told = Place::new().look("auth.mode = 'none'");
    for check in ["clients_port", "metrics_port", "state", "certificate", "offloads", "counting"] {
        told.assert(check, "ok", &[]);
    }
    told.assert("exposure", "ok", &["as is meant"]);
    assert_ne!(told.report["status"], "error", "{}", told.text);
    assert_eq!(told.code, 0);
    assert!(told.lines("health_port").is_empty(), "there is none");
}

#[test]
fn settings_that_are_wrong_leave_the_host_to_look_at() {
    let told = Place::new().look("relay.shards = 'many'");
    told.assert("configuration", "error", &["relay.shards"]);
    told.assert("offloads", "ok", &["GRO"]);
    assert!(told.lines("clients_port").is_empty());
    assert_eq!(told.code, 1);
}

#[test]
fn servers_that_decide_about_tokens_are_asked() {
    let place = Place::new();
    let jwks = |url: &str| format!("auth.mode = 'jwt'\nauth.jwt.jwks_url = '{url}?canary'");
    let hook = |url: &str| format!("auth.mode = 'webhook'\nauth.webhook.url = '{url}?canary'");
    // Nobody listens there any more.
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/keys", listener.local_addr().unwrap())
    };
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let answers = |status: u16, body: &'static str| {
        Service::start(move |_| Answer::Http(status, String::new(), body.to_owned()))
    };
    let (keys, empty, fails) =
        (answers(200, key), answers(200, r#"{"keys":[]}"#), answers(500, ""));
    let (refuses, allows) = (answers(200, r#"{"allow":false}"#), answers(200, r#"{"allow":true}"#));
    let lost = answers(404, "");
    let silent = Service::start(|_| Answer::Silence);
    let url = |service: &Service| format!("http://{}/x", service.address());
    let cases = [
        (jwks(&dead), "error", "refused"),
        (jwks(&url(&keys)), "ok", "keys for tokens there: 1"),
        (jwks(&url(&empty)), "error", "not a JSON Web Key Set"),
        (jwks(&url(&fails)), "error", "500"),
        (jwks(&url(&silent)), "error", "in time"),
        (hook(&dead), "error", "refused"),
        (hook(&url(&refuses)), "ok", "refuses"),
        (hook(&url(&allows)), "warning", "lets in"),
        (hook(&url(&fails)), "error", "500"),
        (hook(&url(&lost)), "error", "404"),
        (hook(&url(&silent)), "error", "in time"),
    ];
    for (settings, status, part) in cases {
        let told = place.look(&settings);
        told.assert("auth", status, &[part]);
        assert_eq!(told.code, i32::from(status == "error"), "{settings}");
        assert!(!told.text.contains("canary"), "{}", told.text);
    }
    let asked = refuses.asked();
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert!(question.body.contains(r#""token":"wzp-relay doctor""#), "{question:?}");
}

#[test]
fn a_process_without_capabilities_is_told_what_it_lacks() {
    let name = "a_process_without_capabilities_is_told_what_it_lacks";
    if !skip::have_namespaces(name) || !skip::have_program(name, "setpriv") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.folder.path().join("state")).unwrap();
    let own = place.folder.path().join("state");
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    let ends = ["host", "peer"].map(|label| Namespace::new(label).unwrap());
    cable(ends.each_ref(), "eth0", 1).unwrap();
    let powerless = || {
        let mut command = ends[0].command("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command
    };
    let settings = "ebpf.interfaces = ['eth0']\nrelay.receive_buffer_bytes = 200000000";
    for (mode, status) in [("auto", "warning"), ("require", "error")] {
        let told = place.look_from(powerless(), &format!("{settings}\nebpf.mode = '{mode}'"));
        told.assert("capabilities", status, &["CAP_BPF", "CAP_NET_ADMIN", "setcap"]);
        told.assert("counting", status, &["CAP_BPF"]);
        told.assert("buffers", "warning", &["net.core.rmem_max", "sysctl -w", "200000000"]);
        told.assert("steering", "ok", &["classic"]);
        assert_eq!(told.code, i32::from(status == "error"));
    }
}
