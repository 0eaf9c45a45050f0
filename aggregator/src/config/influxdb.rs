//! `[store.influxdb]`: an InfluxDB that gets every sample as well.

use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use http::Uri;
use serde::Serialize;

use super::path;
use crate::exchange::is_loopback;

/// Where it is, and how it is spoken to.
#[derive(Debug, Clone, Serialize)]
pub struct InfluxDb {
    pub url: String,
    #[serde(flatten)]
    pub api: InfluxApi,
}

/// Which of its ways.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "api", rename_all = "lowercase")]
pub enum InfluxApi {
    /// `/api/v2`: InfluxDB 2.
    V2 { organisation: String, bucket: String, token_file: PathBuf },
    /// `/write` and InfluxQL `/query`: 1.x, 3.x, a mapped bucket of 2.x.
    V1 {
        database: String,
        /// Without it the database's default one.
        retention_policy: Option<String>,
        token_file: Option<PathBuf>,
        /// Name, and the file with the password.
        user: Option<(String, PathBuf)>,
    },
}

pub(super) fn read(reader: &mut Reader, store: &mut Section<'_>) -> Option<InfluxDb> {
    let mut section = store.section(reader, "influxdb");
    if !section.is_present() {
        return None;
    }
    let url = section.get(reader, "url", |value| {
        let text = want::text(value)?;
        let uri: Result<Uri, _> = text.parse();
        match uri.as_ref().map(|uri| (uri.scheme_str(), uri.host())) {
            Ok((Some("http" | "https"), Some(_))) => Ok(text),
            _ => Err(format!("{text:?}: must start with http:// or https:// and name a host")),
        }
    });
    let api = section.get(reader, "api", |value| match want::text(value)?.as_str() {
        "v1" => Ok(1),
        "v2" => Ok(2),
        other => Err(format!("{other:?} is none of v1, v2")),
    });
    let token_file = section.get(reader, "token_file", path);
    let mut missing = vec![("url", url.is_some())];
    let api = if api == Some(1) {
        let database = section.get(reader, "database", named);
        let retention_policy = section.get(reader, "retention_policy", named);
        let (user, password) = (section.get(reader, "user", want::text), section.get(reader, "password_file", path));
        for (here, there, have, want) in [
            (user.is_some(), password.is_some(), "user", "password_file"),
            (password.is_some(), user.is_some(), "password_file", "user"),
        ] {
            if here && !there && !section.has(want) {
                section.fault(reader, have, format!("needs store.influxdb.{want} beside it"));
            }
        }
        if user.is_some() && token_file.is_some() {
            section.fault(reader, "user", "not beside store.influxdb.token_file: one of them is enough");
        }
        missing.push(("database", database.is_some()));
        database.map(|database| InfluxApi::V1 { database, retention_policy, token_file, user: user.zip(password) })
    } else {
        let (organisation, bucket) =
            (section.get(reader, "organisation", want::text), section.get(reader, "bucket", want::text));
        let there = [organisation.is_some(), bucket.is_some(), token_file.is_some()];
        missing.extend(["organisation", "bucket", "token_file"].into_iter().zip(there));
        let both = organisation.zip(bucket).zip(token_file);
        both.map(|((organisation, bucket), token_file)| InfluxApi::V2 { organisation, bucket, token_file })
    };
    for (key, there) in missing {
        if !there && !section.has(key) {
            section.fault(reader, key, "is missing");
        }
    }
    let secret = matches!(&api, Some(InfluxApi::V1 { token_file, user, .. }) if token_file.is_some() || user.is_some());
    let uri: Option<Uri> = url.as_ref().and_then(|url| url.parse().ok());
    if secret && uri.is_some_and(|uri| uri.scheme_str() == Some("http") && !is_loopback(&uri)) {
        section.fault(reader, "url", "is plain text and not this machine: credentials are not sent there; use https");
    }
    section.finish(reader);
    Some(InfluxDb { url: url?, api: api? })
}

/// A name that stands in quotes in a query.
fn named(value: &toml_edit::Value) -> Result<String, String> {
    let text = want::text(value)?;
    if text.is_empty() || text.contains(['"', '\\', '\n']) {
        return Err(format!("{text:?}: must not be empty nor hold quotes, backslashes or line breaks"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<InfluxDb, Vec<String>> {
        let read = Config::parse("f.toml", &format!("[store.influxdb]\n{text}"));
        read.map(|config| config.store.influxdb.expect("there"))
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_way_needs_its_own_keys() {
        let v1 = read("url = \"http://127.0.0.1:8086\"\napi = \"v1\"\ndatabase = \"load\"\n").expect("right");
        assert!(matches!(v1.api, InfluxApi::V1 { database, token_file: None, user: None, .. } if database == "load"));
        let found = read("url = \"http://127.0.0.1:8086\"\napi = \"v1\"\nbucket = \"b\"\n").expect_err("faults");
        assert!(found.iter().any(|fault| fault.contains("influxdb.bucket: unknown key")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("influxdb.database: is missing")), "{found:?}");
        let alone = "url = \"http://127.0.0.1:8086\"\napi = \"v1\"\ndatabase = \"a\\\"b\"\nuser = \"me\"\n";
        let found = read(alone).expect_err("faults");
        assert!(found.iter().any(|fault| fault.contains("user: needs store.influxdb.password_file")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("database: \"a\\\"b\": must not")), "{found:?}");
        let far = "url = \"http://10.0.0.1:8086\"\napi = \"v1\"\ndatabase = \"a\"\ntoken_file = \"t\"\n";
        assert!(read(far).expect_err("refused")[0].contains("use https"));
        assert!(
            read("url = \"http://x\"\napi = \"v3\"\n")
                .expect_err("refused")
                .iter()
                .any(|fault| fault.contains("none of v1, v2"))
        );
    }
}
