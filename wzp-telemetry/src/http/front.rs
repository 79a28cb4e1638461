//! The front page: for a person who has found the port.

use std::fmt::Write;

use wzp_untrusted::text;

use crate::health::Report;

/// The program that answers.
#[derive(Clone, Debug)]
pub struct Program {
    /// Such as `wzp-relay`.
    pub name: &'static str,
    /// The program's version.
    pub version: &'static str,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem}dt{opacity:.7}dd{margin:0 0 .5rem}\
.bad{color:light-dark(#b00020,#ff8a80)}";

/// The page, with links to metrics where they are served.
pub(super) fn page(
    program: &Program,
    report: &Report,
    metrics: Option<&str>,
    health: &str,
) -> String {
    let Program { name, version } = program;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n<h1>{name} {version}</h1>\n<dl>\n"
    );
    let uptime = std::time::Duration::from_secs(report.uptime_seconds);
    let ready = report.not_ready().map_or("yes".to_owned(), |reason| format!("no, {reason}"));
    let facts = [
        ("Status", report.status().name().to_owned()),
        ("Ready", ready),
        ("Uptime", humantime::format_duration(uptime).to_string()),
        ("Connections", report.connections.to_string()),
    ];
    // Writing to a String does not fail.
    for (name, value) in facts {
        let _ = writeln!(page, "<dt>{name}<dd>{}", Text(&value));
    }
    page.push_str("</dl>\n<ul>\n");
    for check in &report.checks {
        let _ = match &check.problem {
            None => writeln!(page, "<li>{}: ok", check.name),
            Some((_, reason)) => {
                writeln!(page, "<li class=\"bad\">{}: {}", check.name, Text(reason))
            }
        };
    }
    page.push_str("</ul>\n<p>");
    if let Some(path) = metrics {
        let path = Text(path);
        let _ = writeln!(
            page,
            "<a href=\"{path}\">Metrics</a> (<a href=\"{path}?format=openmetrics\">OpenMetrics</a>, \
             <a href=\"{path}?format=json\">JSON</a>) · "
        );
    }
    let _ =
        writeln!(page, "<a href=\"{}\">Health</a> · <a href=\"/ready\">Ready</a>", Text(health));
    page
}

/// Text, not mark-up.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        text::lines(self.0).to_string().chars().try_for_each(|character| match character {
            '<' => out.write_str("&lt;"),
            '&' => out.write_str("&amp;"),
            '"' => out.write_str("&quot;"),
            other => out.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Check, Consequence, Phase};

    #[test]
    fn the_page_tells_what_is_wrong_and_is_not_written_by_it() {
        let report = Report {
            phase: Phase::Serving,
            uptime_seconds: 3_661,
            connections: 7,
            transfers_active: 0,
            peers: 0,
            checks: vec![
                Check::ok("network"),
                Check::failed("storage", Consequence::NotReady, "<script>&\"\u{202e}"),
            ],
        };
        let program = Program { name: "wzp-test", version: "1.2.3" };
        let page = page(&program, &report, Some("/m"), "/health");
        for part in [
            "<h1>wzp-test 1.2.3</h1>",
            "<dd>degraded",
            "<dd>1h 1m 1s",
            "<li>network: ok",
            "storage: &lt;script>&amp;&quot;\\u{202e}",
            "href=\"/m?format=openmetrics\"",
            "href=\"/ready\"",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("<script"));
    }
}
