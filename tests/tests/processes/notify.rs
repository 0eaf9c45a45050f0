//! Alarms as they reach people: a real Alertmanager that takes, shows and resolves them, and a server of one's own that is told
//! each change once, signed, also when it was down.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, Process, agent, eventually, free_port};
use foreshadow_tests::trust;
use foreshadow_tests::web;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::Value;
use tokio::process::Command;

/// What came, with its signature.
#[derive(Debug, Clone, Default)]
struct Hook {
    changes: Arc<Mutex<Vec<Value>>>,
    signed: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
}

impl Hook {
    async fn start(&self) -> anyhow::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/told", listener.local_addr()?);
        let hook = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let hook = hook.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| hook.clone().answer(request));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(url)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let mut response = Response::new(Full::default());
        if self.down.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let signed = header("foreshadow-signature").is_some_and(|signature| signature.starts_with("v1="));
        self.signed.store(signed && header("foreshadow-timestamp").is_some(), Ordering::Relaxed);
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let changes = body["changes"].as_array().cloned().unwrap_or_default();
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        Ok(response)
    }

    fn told(&self, kind: &str, status: &str) -> usize {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change["alarm"]["kind"] == kind && change["status"] == status).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_reach_a_real_alertmanager_and_a_server_of_ones_own_and_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let routes = directory.path().join("alertmanager.yml");
    std::fs::write(&routes, "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")?;
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", routes.display()))
        .arg(format!("--storage.path={}", directory.path().join("alerts").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    let _manager =
        Process::start("alertmanager", command, directory.path()).context("Debian package prometheus-alertmanager")?;
    let manager = format!("http://127.0.0.1:{port}");
    eventually("Alertmanager is ready", Duration::from_secs(60), async || {
        Ok((web::get(&format!("{manager}/-/ready")).await?.status == 200).then_some(()))
    })
    .await?;

    // A certificate that ends in ten days, and a group of whose instances none reports.
    let path = |name: &str| directory.path().join(name);
    let authority = trust::authority()?;
    let mut server = CertificateParams::new(Vec::new())?;
    server.subject_alt_names = vec![SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())];
    let end = jiff::Timestamp::from_second(SystemClock.wall_seconds())?.to_zoned(jiff::tz::TimeZone::UTC).date()
        + jiff::Span::new().days(10);
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    server.not_after = rcgen::date_time_ymd(i32::from(end.year()), part(end.month()), part(end.day()));
    let key = KeyPair::generate()?;
    std::fs::write(path("ca.pem"), authority.pem())?;
    std::fs::write(path("server.pem"), server.signed_by(&key, &authority)?.pem())?;
    std::fs::write(path("server.key"), key.serialize_pem())?;
    let hook = Hook::default();
    hook.down.store(true, Ordering::Relaxed);
    let url = hook.start().await?;
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "between the two of us\n")?;
    let inventory = path("inventory.toml");
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 4\ninstances = [\"i-1\"]\n")?;
    let config = format!(
        "[listen]\ncertificate = \"{}\"\nkey = \"{}\"\n[inventory]\nfile = \"{}\"\ninterval_seconds = 5\nwarm_up_seconds = 0\n[notify]\nafter_seconds = 0\nlink = \"https://foreshadow.example/\"\n\
         [notify.alertmanager]\nurl = \"{manager}\"\n[notify.webhook]\nurl = \"{url}\"\nsecret_file = \"{}\"\n",
        path("server.pem").display(),
        path("server.key").display(),
        inventory.display(),
        secret.display()
    );
    let aggregator = Aggregator::start_tls(directory.path(), &config, free_port()?, &path("ca.pem")).await?;
    let alerts = async || {
        let answer = web::get(&format!("{manager}/api/v2/alerts")).await?.json()?;
        Ok::<_, anyhow::Error>(answer.as_array().cloned().unwrap_or_default())
    };
    let named =
        |alerts: &[Value], name: &str| alerts.iter().find(|alert| alert["labels"]["alertname"] == name).cloned();
    let stale = eventually("the alarm of a silent group", Duration::from_secs(60), async || {
        Ok(named(&alerts().await?, "ForeshadowStaleData"))
    })
    .await?;
    assert_eq!((&stale["labels"]["group"], &stale["labels"]["severity"]), (&"web".into(), &"ticket".into()), "{stale}");
    assert_eq!(stale["generatorURL"], "https://foreshadow.example/");
    let summary = stale["annotations"]["summary"].as_str().unwrap_or_default().to_owned();
    ensure!(
        summary.contains("web")
            && stale["annotations"]["description"].as_str().is_some_and(|text| text.contains("foreshadow explain web")),
        "{stale}"
    );

    let ending = eventually("the alarm of the certificate", Duration::from_secs(60), async || {
        Ok(named(&alerts().await?, "ForeshadowCertificateEnds"))
    })
    .await?;
    ensure!(ending["labels"]["subject"].as_str().is_some_and(|file| file.ends_with("server.pem")), "{ending}");

    // The server of one's own was down: it is told when it is back, once.
    assert_eq!(hook.told("stale_data", "firing"), 0);
    hook.down.store(false, Ordering::Relaxed);
    eventually("the change that waited", Duration::from_secs(60), async || {
        Ok((hook.told("stale_data", "firing") == 1).then_some(()))
    })
    .await?;
    assert!(hook.signed.load(Ordering::Relaxed), "it is signed");

    // Its agent reports: the alarm is over, for both; the certificate still ends.
    let ca = path("ca.pem").display().to_string();
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--ca", &ca])?;
    eventually("the end of the alarm", Duration::from_secs(60), async || {
        let over = named(&alerts().await?, "ForeshadowStaleData").is_none();
        Ok((over && hook.told("stale_data", "resolved") == 1).then_some(()))
    })
    .await?;
    assert_eq!(hook.told("stale_data", "firing"), 1, "once");
    assert!(named(&alerts().await?, "ForeshadowCertificateEnds").is_some());
    assert_eq!(hook.told("certificate_ends", "firing"), 1);
    assert!(agent.terminate().await?.success());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
