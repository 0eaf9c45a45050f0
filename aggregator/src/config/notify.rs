//! `[notify]`: whom alarms go to.

use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use http::Uri;
use serde::Serialize;

use super::inventory::{as_text, secure_url};
use super::path;
use crate::exchange::is_loopback;

/// `[notify]`.
#[derive(Debug, Clone, Serialize)]
pub struct Notify {
    /// An alarm stands this long before it is told.
    pub after_seconds: u32,
    /// Where people look: the address of the web page.
    pub link: Option<String>,
    pub alertmanager: Option<Alertmanager>,
    pub webhook: Option<NotifyWebhook>,
}

/// `[notify.alertmanager]`.
#[derive(Debug, Clone, Serialize)]
pub struct Alertmanager {
    #[serde(serialize_with = "as_text")]
    pub url: Uri,
    pub token_file: Option<PathBuf>,
}

/// `[notify.webhook]`.
#[derive(Debug, Clone, Serialize)]
pub struct NotifyWebhook {
    #[serde(serialize_with = "as_text")]
    pub url: Uri,
    pub secret_file: PathBuf,
}

/// `None` where the section is not there.
pub(super) fn read(reader: &mut Reader, root: &mut Section<'_>) -> Option<Notify> {
    let mut section = root.section(reader, "notify");
    if !section.is_present() {
        return None;
    }
    let mut read =
        Notify { after_seconds: 120, link: section.get(reader, "link", want::text), alertmanager: None, webhook: None };
    section.set(reader, "after_seconds", &mut read.after_seconds, want::count(0..=86_400));
    read.alertmanager = alertmanager(reader, &mut section);
    read.webhook = webhook(reader, &mut section);
    if !["alertmanager", "webhook"].iter().any(|way| section.has(way)) {
        section.fault(reader, "alertmanager", "nobody is told: give [notify.alertmanager] or [notify.webhook]");
    }
    section.finish(reader);
    Some(read)
}

/// Often without TLS in the same network: then without a token.
fn alertmanager(reader: &mut Reader, notify: &mut Section<'_>) -> Option<Alertmanager> {
    let mut section = notify.section(reader, "alertmanager");
    if !section.is_present() {
        return None;
    }
    let url = section.get(reader, "url", |value| {
        let text = want::text(value)?;
        let url: Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        let there = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
        if there { Ok(url) } else { Err(format!("{text:?}: must be http://HOST:PORT or https://HOST:PORT")) }
    });
    if url.is_none() && !section.has("url") {
        section.fault(reader, "url", "is missing");
    }
    let token_file = section.get(reader, "token_file", path);
    let plain = url.as_ref().is_some_and(|url| url.scheme_str() == Some("http") && !is_loopback(url));
    if plain && token_file.is_some() {
        section.fault(reader, "token_file", "would travel in plain text: use https://");
    }
    section.finish(reader);
    url.map(|url| Alertmanager { url, token_file })
}

fn webhook(reader: &mut Reader, notify: &mut Section<'_>) -> Option<NotifyWebhook> {
    let mut section = notify.section(reader, "webhook");
    if !section.is_present() {
        return None;
    }
    let url = section.get(reader, "url", secure_url);
    let secret_file = section.get(reader, "secret_file", path);
    for (key, there) in [("url", url.is_some()), ("secret_file", secret_file.is_some())] {
        if !there && !section.has(key) {
            section.fault(reader, key, "is missing");
        }
    }
    section.finish(reader);
    url.zip(secret_file).map(|(url, secret_file)| NotifyWebhook { url, secret_file })
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn who_is_told_is_checked() {
        let right = "[notify]\nafter_seconds = 0\n[notify.alertmanager]\nurl = \"http://alerts.example:9093\"\n\
                     [notify.webhook]\nurl = \"https://hooks.example/foreshadow\"\nsecret_file = \"/etc/secret\"\n";
        let read = Config::parse("f.toml", right).expect("right").notify.expect("there");
        assert!(read.alertmanager.is_some() && read.webhook.is_some() && read.after_seconds == 0);
        for (text, said) in [
            ("[notify]\n", "nobody is told"),
            ("[notify.alertmanager]\n", "notify.alertmanager.url: is missing"),
            ("[notify.alertmanager]\nurl = \"alerts:9093\"\n", "must be http://"),
            (
                "[notify.alertmanager]\nurl = \"http://alerts.example\"\ntoken_file = \"t\"\n",
                "notify.alertmanager.token_file: would travel in plain text",
            ),
            ("[notify.webhook]\nurl = \"http://hooks.example\"\n", "must start with https://"),
            ("[notify.webhook]\nurl = \"https://hooks.example\"\n", "notify.webhook.secret_file: is missing"),
        ] {
            let faults = Config::parse("f.toml", text).expect_err(text);
            assert!(faults.iter().any(|fault| fault.to_string().contains(said)), "{text}: {faults:?}");
        }
    }
}
