//! `foreshadow tokens`, `certificates`, `authority` and `audit`: identity for a person at a terminal.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use serde_json::{Value, json};

use super::Role;
use super::audit::{Anchor, Verified, verify};
use crate::client::{Ask, escaped, reason_argument};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::Beside;
use crate::table::table;

/// Tokens that are managed by the running aggregator.
#[derive(Debug, clap::Args)]
pub struct TokensArguments {
    #[command(subcommand)]
    action: TokensAction,
}

#[derive(Debug, Subcommand)]
enum TokensAction {
    /// Make a token for a caller; it is printed once
    Create(Create),
    /// Make a join token, which lets agents get their first certificate; it is printed once
    Join(Join),
    /// List every managed token, without itself
    List(Ask),
    /// End a token at once
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Whose it is; the audit log shows it
    #[arg(long)]
    name: String,
    /// viewer, operator or admin (agent: the token that agents share, which proves no instance)
    #[arg(long)]
    role: Role,
    /// Hours until it ends by itself, 1 to 87600 [default: never]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=87_600))]
    expires: Option<u32>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
struct Join {
    /// What it is for; the list shows it
    #[arg(long)]
    name: String,
    /// Agents it lets in, 1 to 100000
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,
    /// Hours until it ends by itself, 1 to 2160
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=2_160))]
    expires: u32,
    /// Only instances that the inventory knows as members of this group
    #[arg(long)]
    group: Option<Id>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its id, as the list shows it: the part between the underscores
    id: String,
    /// Why
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// Certificates of agents.
#[derive(Debug, clap::Args)]
pub struct CertificatesArguments {
    #[command(subcommand)]
    action: CertificatesAction,
}

#[derive(Debug, Subcommand)]
enum CertificatesAction {
    /// List which instances have certificates
    List(Ask),
    /// End an instance's certificates and its stream at once
    Revoke(Named),
    /// Free an instance's id for whoever comes next with a join token
    Release(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The instance
    instance: Id,
    /// Why
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct AuthorityArguments {
    #[command(flatten)]
    ask: Ask,
}

/// The audit log.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArguments {
    #[command(subcommand)]
    action: Option<AuditAction>,
    /// So many entries, the newest, 1 to 500
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Walk along the chain of the audit log in the store's directory: 0 when it is whole, 1 when not
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The store's directory [default: foreshadow-data]
    #[arg(long, env = "FORESHADOW_DIRECTORY", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// An entry and its hash that were noted elsewhere (the aggregator's log says them): it must be there, unchanged
    #[arg(long, value_name = "ENTRY:HASH")]
    anchor: Vec<Anchor>,
    /// Say what was found as JSON
    #[arg(long)]
    json: bool,
}

/// `foreshadow tokens`.
pub async fn tokens(arguments: &TokensArguments) -> anyhow::Result<()> {
    match &arguments.action {
        TokensAction::Create(new) => {
            let body = json!({ "name": new.name, "role": new.role, "expires_hours": new.expires });
            made(&new.ask, &new.ask.client.request(Method::POST, "/tokens", Some(&body)).await?)
        }
        TokensAction::Join(new) => {
            let body = json!({ "name": new.name, "uses": new.uses, "expires_hours": new.expires, "group": new.group });
            made(&new.ask, &new.ask.client.request(Method::POST, "/tokens/join", Some(&body)).await?)
        }
        TokensAction::List(ask) => {
            let answer = ask.client.get("/tokens").await?;
            show(&answer, ask.json, |tokens| token_lines(tokens, SystemClock.wall_micros()));
            Ok(())
        }
        TokensAction::Revoke(revoke) => {
            let path = format!("/tokens/{}?reason={}", escaped(&revoke.id), escaped(&revoke.reason));
            let answer = revoke.ask.client.request(Method::DELETE, &path, None).await?;
            revoke.ask.tell(&answer, |answer| format!("{}: revoked", text(answer, "name")));
            Ok(())
        }
    }
}

/// The token alone goes to the standard output, so that a shell can put it into a file.
fn made(ask: &Ask, answer: &Value) -> anyhow::Result<()> {
    if ask.json {
        println!("{answer:#}");
        return Ok(());
    }
    let Some(token) = answer.get("token").and_then(Value::as_str) else { bail!("the answer has no token in it") };
    eprintln!("id {}; the token, shown this once; give it to its owner in a file:\n", text(answer, "id"));
    println!("{token}");
    Ok(())
}

/// `foreshadow certificates`.
pub async fn certificates(arguments: &CertificatesArguments) -> anyhow::Result<()> {
    let (word, named) = match &arguments.action {
        CertificatesAction::List(ask) => {
            let answer = ask.client.get("/certificates").await?;
            show(&answer, ask.json, certificate_lines);
            return Ok(());
        }
        CertificatesAction::Revoke(named) => ("revoke", named),
        CertificatesAction::Release(named) => ("release", named),
    };
    let path = format!("/certificates/{}/{word}", escaped(named.instance.as_str()));
    let answer = named.ask.client.request(Method::POST, &path, Some(&json!({ "reason": named.reason }))).await?;
    named.ask.tell(&answer, |answer| {
        let stream = if answer["stream_ended"] == true { ", its stream ended" } else { "" };
        format!("{}: {word}d{stream}", named.instance)
    });
    Ok(())
}

/// `foreshadow authority`.
pub async fn authority(arguments: &AuthorityArguments) -> anyhow::Result<()> {
    let certificate = arguments.ask.client.text("/authority").await?;
    if arguments.ask.json {
        println!("{:#}", json!({ "certificate": certificate }));
    } else {
        print!("{certificate}");
    }
    Ok(())
}

/// `foreshadow audit`.
pub async fn audit(arguments: &AuditArguments) -> anyhow::Result<()> {
    let Some(AuditAction::Verify(wanted)) = &arguments.action else {
        let ask = &arguments.ask;
        show(&ask.client.get(&format!("/audit?limit={}", arguments.limit)).await?, ask.json, audit_lines);
        return Ok(());
    };
    let directory = wanted.directory.clone().unwrap_or_else(|| Config::default().store.directory);
    let beside = Beside::open(&directory).await?;
    let found = verify(&mut *beside.pool().acquire().await?, &wanted.anchor).await?;
    if wanted.json {
        println!("{:#}", verdict(&found));
    }
    match found {
        Verified::Broken(why) => bail!("the audit log is not whole: {why}"),
        _ if wanted.json => {}
        Verified::Whole(Anchor { entry: 0, .. }) => println!("the audit log is empty"),
        Verified::Whole(last) => {
            println!("whole: {} entries; note the last one: {}:{}", last.entry, last.entry, last.hash)
        }
    }
    Ok(())
}

/// What was found of the chain, for a program: `anchor` is what to note elsewhere.
fn verdict(found: &Verified) -> Value {
    match found {
        Verified::Broken(why) => json!({ "whole": false, "why": why }),
        Verified::Whole(Anchor { entry: 0, .. }) => json!({ "whole": true, "entries": 0, "anchor": null }),
        Verified::Whole(last) => {
            json!({ "whole": true, "entries": last.entry, "anchor": format!("{}:{}", last.entry, last.hash) })
        }
    }
}

fn show(answer: &Value, as_json: bool, lines: impl FnOnce(&[Value]) -> String) {
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", lines(answer.as_array().map_or(&[], Vec::as_slice)));
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn time(value: &Value, key: &str) -> String {
    let at = value.get(key).and_then(Value::as_i64);
    let at = at.and_then(|micros| jiff::Timestamp::from_second(micros / 1_000_000).ok());
    at.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

fn token_lines(tokens: &[Value], now_micros: i64) -> String {
    if tokens.is_empty() {
        return "no tokens are managed; those of the token file are not listed\n".to_owned();
    }
    let rows = tokens.iter().map(|token| {
        let role = if text(token, "kind") == "join" { "join" } else { text(token, "role") };
        let uses = token["uses_left"].as_i64();
        let state = if !token["revoked_micros"].is_null() {
            format!("revoked {}", time(token, "revoked_micros"))
        } else if token["expires_micros"].as_i64().is_some_and(|expires| now_micros >= expires) {
            "expired".to_owned()
        } else if uses.is_some_and(|left| left <= 0) {
            "used up".to_owned()
        } else {
            "good".to_owned()
        };
        let uses = uses.map_or_else(|| "-".to_owned(), |left| left.to_string());
        let [id, role, name, group] = [text(token, "id"), role, text(token, "name"), text(token, "group")];
        let [id, role, name, group] = [id, role, name, group].map(str::to_owned);
        [id, role, name, group, uses, time(token, "expires_micros"), state]
    });
    table(["id", "role", "name", "group", "uses", "ends", "state"], rows)
}

fn audit_lines(entries: &[Value]) -> String {
    if entries.is_empty() {
        return "nothing was ever changed\n".to_owned();
    }
    let rows = entries.iter().map(|entry| {
        let why = [text(entry, "detail"), text(entry, "reason")];
        let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
        let [caller, action] = [text(entry, "caller"), text(entry, "action")].map(str::to_owned);
        [entry["entry"].to_string(), time(entry, "at_micros"), caller, action, why.join(": ")]
    });
    table(["entry", "at", "by", "action", "what, and why"], rows)
}

fn certificate_lines(certificates: &[Value]) -> String {
    if certificates.is_empty() {
        return "no instance has a certificate\n".to_owned();
    }
    let mut lines =
        vec![format!("{:<22} {:<21} {:<21} {:<16} state", "instance", "enrolled", "good until", "join token")];
    for certificate in certificates {
        let state = match certificate["revoked_micros"].is_null() {
            true => "good".to_owned(),
            false => format!("revoked {}", time(certificate, "revoked_micros")),
        };
        lines.push(format!(
            "{:<22} {:<21} {:<21} {:<16} {state}",
            text(certificate, "instance"),
            time(certificate, "enrolled_micros"),
            time(certificate, "expires_micros"),
            text(certificate, "join_token"),
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_what_was_found_of_the_chain() {
        let last = Anchor { entry: 7, hash: "ab".to_owned() };
        assert_eq!(verdict(&Verified::Whole(last)), json!({"whole": true, "entries": 7, "anchor": "7:ab"}));
        assert_eq!(verdict(&Verified::Broken("x".to_owned())), json!({"whole": false, "why": "x"}));
    }

    #[test]
    fn tokens_and_certificates_read_in_lines() {
        let tokens = [
            json!({"id": "0c", "kind": "join", "role": "agent", "name": "web", "uses_left": 0,
                "expires_micros": 1_800_000_000_000_000_i64, "revoked_micros": null, "group": null}),
            json!({"id": "0a", "kind": "bearer", "role": "viewer", "name": "grafana", "uses_left": null,
                "expires_micros": null, "revoked_micros": null, "group": null}),
            json!({"id": "0b", "kind": "join", "role": "agent", "name": "web", "uses_left": 3,
                "expires_micros": 1_800_000_000_000_000_i64, "revoked_micros": null, "group": "web"}),
        ];
        let shown = token_lines(&tokens, 1_700_000_000_000_000);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "id  role    name     group  uses  ends                  state");
        assert_eq!(lines[1], "0c  join    web      -      0     2027-01-15T08:00:00Z  used up");
        assert_eq!(lines[2], "0a  viewer  grafana  -      -     never                 good");
        assert_eq!(lines[3], "0b  join    web      web    3     2027-01-15T08:00:00Z  good");
        let later = token_lines(&tokens, 1_800_000_000_000_000);
        assert_eq!(later.matches("expired").count(), 2, "{later}");
        let shown = audit_lines(&[
            json!({"entry": 7, "at_micros": 1_800_000_000_000_000_i64, "caller": "ops", "action": "pause", "detail": "web",
                "reason": "a look"}),
            json!({"entry": 6, "at_micros": 1_800_000_000_000_000_i64, "caller": "enrolment", "action": "enrol",
                "detail": "i-1", "reason": ""}),
        ]);
        assert_eq!(
            shown,
            "entry  at                    by         action  what, and why\n\
             7      2027-01-15T08:00:00Z  ops        pause   web: a look\n\
             6      2027-01-15T08:00:00Z  enrolment  enrol   i-1\n"
        );
        let shown = certificate_lines(&[json!({"instance": "i-1", "enrolled_micros": 1_800_000_000_000_000_i64,
            "expires_micros": null, "join_token": "0b", "revoked_micros": 1_800_000_000_000_000_i64})]);
        assert!(shown.contains("revoked 2027-01-15T08:00:00Z"), "{shown}");
    }
}
