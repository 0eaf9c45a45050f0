//! Readiness: an instance is ready when its probe says so, not when its agent started.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::process::Command;

/// One probe takes this long at most.
const DEADLINE: Duration = Duration::from_secs(5);

/// How readiness is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Ready as soon as the agent samples.
    None,
    /// Ready while the program ends with 0.
    Exec(Vec<String>),
    /// Ready while a GET is answered with 200 to 399.
    Http(Uri),
    /// Ready while a connection opens.
    Tcp(SocketAddr),
    /// Ready while the file is there.
    File(PathBuf),
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("none", "") => Ok(Self::None),
            ("exec", command) if !command.trim().is_empty() => {
                Ok(Self::Exec(command.split_whitespace().map(str::to_owned).collect()))
            }
            ("http", _) => text
                .parse::<Uri>()
                .ok()
                .filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
                .map(Self::Http)
                .ok_or_else(|| format!("{text:?} is no URL")),
            ("tcp", address) => address.parse().map(Self::Tcp).map_err(|_| format!("{address:?} is not ADDRESS:PORT")),
            ("file", path) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(format!("{text:?} is none of none, exec:COMMAND, http://HOST/PATH, tcp:ADDRESS:PORT, file:PATH")),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Exec(command) => write!(f, "exec:{}", command.join(" ")),
            Self::Http(uri) => write!(f, "{uri}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Probe {
    /// Ready or not, and what was found, in words.
    pub async fn look(&self) -> (bool, String) {
        match tokio::time::timeout(DEADLINE, self.found()).await {
            Ok(Ok(found)) => (true, found),
            Ok(Err(problem)) => (false, problem),
            Err(_) => (false, format!("{self}: no answer within {} s", DEADLINE.as_secs())),
        }
    }

    async fn found(&self) -> Result<String, String> {
        match self {
            Self::None => Ok("no probe".to_owned()),
            Self::Exec(command) => {
                let (program, arguments) = command.split_first().ok_or("exec: no command")?;
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let status = command.kill_on_drop(true).status().await.map_err(|error| format!("{self}: {error}"))?;
                if status.success() { Ok(format!("{self}: ended with 0")) } else { Err(format!("{self}: {status}")) }
            }
            Self::Http(uri) => {
                let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
                let answer = client.get(uri.clone()).await.map_err(|error| format!("{uri}: {error}"))?;
                let status = answer.status();
                if status.is_success() || status.is_redirection() {
                    Ok(format!("{uri}: {status}"))
                } else {
                    Err(format!("{uri}: {status}"))
                }
            }
            Self::Tcp(address) => {
                let connected = tokio::net::TcpStream::connect(address).await;
                connected.map(|_| format!("{self}: connects")).map_err(|error| format!("{self}: {error}"))
            }
            Self::File(path) => match tokio::fs::metadata(path).await {
                Ok(_) => Ok(format!("{self}: is there")),
                Err(error) => Err(format!("{self}: {error}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_and_written_alike() {
        for text in ["none", "exec:true", "http://127.0.0.1:80/health", "tcp:127.0.0.1:80", "file:/tmp/ready"] {
            assert_eq!(text.parse::<Probe>().expect(text).to_string(), text);
        }
        for text in ["", "exec:", "tcp:80", "file:", "ping", "http:"] {
            assert!(text.parse::<Probe>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn each_probe_finds_ready_and_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("an address");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ready");
        std::fs::write(&file, "").expect("written");
        let ready = |text: String| async move { text.parse::<Probe>().expect("a probe").look().await.0 };
        assert!(ready("none".into()).await);
        assert!(ready("exec:true".into()).await && !ready("exec:false".into()).await);
        assert!(!ready("exec:/no/such/program".into()).await);
        assert!(ready(format!("tcp:{open}")).await);
        assert!(ready(format!("file:{}", file.display())).await);
        assert!(!ready(format!("file:{}/not", file.display())).await);
        drop(listener);
        assert!(!ready(format!("tcp:{open}")).await);
        assert!(!ready(format!("http://{open}/")).await);
    }
}
