//! `[traces]`: the collector that decisions are told to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use http::{HeaderName, Uri, header};
use serde::Serialize;

use super::inventory::as_text;
use super::path;
use crate::exchange::is_loopback;

/// Decisions that change nothing, told anyhow: one in a hundred.
const SAMPLED: f64 = 0.01;

/// `[traces]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traces {
    /// All of it, with the path.
    #[serde(serialize_with = "as_text")]
    pub endpoint: Uri,
    /// Holds a bearer token.
    pub token_file: Option<PathBuf>,
    /// Header by header a file that holds its value.
    pub header_files: BTreeMap<String, PathBuf>,
    /// The share of decisions that are told although they change nothing, 0 to 1.
    pub sampled: f64,
}

/// `None` where the section is not there.
pub(super) fn read(reader: &mut Reader, root: &mut Section<'_>) -> Option<Traces> {
    let mut section = root.section(reader, "traces");
    if !section.is_present() {
        return None;
    }
    let endpoint = section.get(reader, "endpoint", endpoint);
    if endpoint.is_none() && !section.has("endpoint") {
        section.fault(reader, "endpoint", "is missing: the collector, as http://127.0.0.1:4318/v1/traces");
    }
    let token_file = section.get(reader, "token_file", path);
    let (mut sampled, mut insecure) = (SAMPLED, false);
    section.set(reader, "sampled", &mut sampled, want::number(0.0..=1.0));
    section.set(reader, "insecure", &mut insecure, want::boolean);
    let header_files = section.map(reader, "header_files", |name, value| {
        named(name, token_file.is_some())?;
        path(value)
    });
    let header_files: BTreeMap<String, PathBuf> = header_files.unwrap_or_default().into_iter().collect();
    let plain = endpoint.as_ref().is_some_and(|url| url.scheme_str() == Some("http") && !is_loopback(url));
    if plain && !insecure {
        let problem = "is plain text and not this machine: use https:// (or traces.insecure = true, and who listens reads \
                       names of groups and instances)";
        section.fault(reader, "endpoint", problem);
    }
    for (key, there) in [("token_file", token_file.is_some()), ("header_files", !header_files.is_empty())] {
        if plain && there {
            section.fault(reader, key, "would travel in plain text: use https://");
        }
    }
    section.finish(reader);
    Some(Traces { endpoint: endpoint?, token_file, header_files, sampled })
}

fn endpoint(value: &toml_edit::Value) -> Result<Uri, String> {
    let text = want::text(value)?;
    let url: Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        return Err(format!("{text:?}: must be http://HOST:PORT/PATH or https://HOST:PORT/PATH"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a name or a password: give traces.token_file or traces.header_files".to_owned());
    }
    if url.path() == "/" {
        return Err(format!("{text:?}: names no path; a collector takes traces at /v1/traces"));
    }
    Ok(url)
}

/// A header that is free for others.
fn named(name: &str, token: bool) -> Result<(), String> {
    let name: HeaderName = name.parse().map_err(|_| "is no name of a header".to_owned())?;
    let ours = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::HOST, header::USER_AGENT];
    if ours.contains(&name) {
        return Err("is set by Foreshadow itself".to_owned());
    }
    if token && name == header::AUTHORIZATION {
        return Err("not beside traces.token_file: one of them is enough".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<Traces, Vec<String>> {
        let read = Config::parse("f.toml", &format!("[traces]\n{text}"));
        read.map(|config| config.traces.expect("there"))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn it_is_off_unless_told() {
        assert_eq!(Config::parse("f.toml", "").expect("right").traces, None);
        let read = read("endpoint = \"http://127.0.0.1:4318/v1/traces\"\n").expect("right");
        assert_eq!((read.sampled, read.token_file, read.header_files.len()), (SAMPLED, None, 0));
    }

    #[test]
    fn secrets_come_from_files_and_travel_by_tls_alone() {
        let all = "endpoint = \"https://otel.example/v1/traces\"\ntoken_file = \"/t\"\nsampled = 0\n\
                   header_files = { x-tenant = \"/tenant\" }\n";
        let found = read(all).expect("right");
        assert_eq!((found.sampled, found.header_files.len()), (0.0, 1));
        let here = "endpoint = \"http://[::1]:4318/v1/traces\"\ntoken_file = \"/t\"\n";
        assert!(read(here).is_ok(), "this machine");
        let near = "endpoint = \"http://otel.example:4318/v1/traces\"\ninsecure = true\n";
        assert!(read(near).is_ok(), "said aloud");
        for (text, said) in [
            ("", "f.toml:1: traces.endpoint: is missing"),
            ("endpoint = \"otel.example:4318\"\n", "f.toml:2: traces.endpoint: \"otel.example:4318\": must be http://"),
            ("endpoint = \"https://otel.example:4318\"\n", "a collector takes traces at /v1/traces"),
            ("endpoint = \"https://me:secret@otel.example/v1/traces\"\n", "give traces.token_file"),
            ("endpoint = \"http://otel.example/v1/traces\"\n", "f.toml:2: traces.endpoint: is plain text"),
            (
                "endpoint = \"http://otel.example/v1/traces\"\ninsecure = true\ntoken_file = \"/t\"\n",
                "f.toml:4: traces.token_file: would travel in plain text",
            ),
            ("endpoint = \"https://a/v1/traces\"\nsampled = 2\n", "f.toml:3: traces.sampled"),
            ("endpoint = \"https://a/v1/traces\"\nheaders = { a = \"b\" }\n", "traces.headers: unknown key"),
            (
                "endpoint = \"https://a/v1/traces\"\nheader_files = { host = \"/h\" }\n",
                "traces.header_files.host: is set by Foreshadow itself",
            ),
            (
                "endpoint = \"https://a/v1/traces\"\ntoken_file = \"/t\"\nheader_files = { authorization = \"/h\" }\n",
                "one of them is enough",
            ),
        ] {
            let faults = read(text).expect_err(text);
            assert!(faults.iter().any(|fault| fault.contains(said)), "{said} in {faults:?}");
        }
    }
}
