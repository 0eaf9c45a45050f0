//! Alarms as they reach people: a real Alertmanager that takes, shows and resolves them, and a server of one's own that is told
//! each change once, signed, also when it was down.

use std::convert::Infallible;
use std::path::Path;
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
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio::process::Command;

use super::disk::SmallDisk;
use super::history::steady;
use super::machines::{Setup, WITHIN, World};

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

    /// When what was told of a group's stale data began, of each change with this status.
    fn stale(&self, group: &str, status: &str) -> Vec<Value> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |change: &&Value| change["alarm"]["kind"] == "stale_data" && change["alarm"]["subject"] == group;
        changes.iter().filter(stale).filter(|it| it["status"] == status).map(|it| it["since"].clone()).collect()
    }

    fn told(&self, kind: &str, status: &str) -> usize {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change["alarm"]["kind"] == kind && change["status"] == status).count()
    }
}

/// A real Alertmanager.
struct Alertmanager {
    url: String,
    _process: Process,
}

impl Alertmanager {
    async fn start(directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let routes = directory.join("alertmanager.yml");
        std::fs::write(&routes, "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")?;
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", routes.display()))
            .arg(format!("--storage.path={}", directory.join("alerts").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let process =
            Process::start("alertmanager", command, directory).context("Debian package prometheus-alertmanager")?;
        let url = format!("http://127.0.0.1:{port}");
        eventually("Alertmanager is ready", Duration::from_secs(60), async || {
            Ok((web::get(&format!("{url}/-/ready")).await?.status == 200).then_some(()))
        })
        .await?;
        Ok(Self { url, _process: process })
    }

    /// The alert of this name that stands now.
    async fn standing(&self, name: &str) -> anyhow::Result<Option<Value>> {
        let answer = web::get(&format!("{}/api/v2/alerts", self.url)).await?.json()?;
        let alerts = answer.as_array().cloned().unwrap_or_default();
        Ok(alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_reach_a_real_alertmanager_and_a_server_of_ones_own_and_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let manager = Alertmanager::start(directory.path()).await?;

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
         [notify.alertmanager]\nurl = \"{}\"\n[notify.webhook]\nurl = \"{url}\"\nsecret_file = \"{}\"\n",
        path("server.pem").display(),
        path("server.key").display(),
        inventory.display(),
        manager.url,
        secret.display()
    );
    let aggregator = Aggregator::start_tls(directory.path(), &config, free_port()?, &path("ca.pem")).await?;
    let stale = eventually("the alarm of a silent group", Duration::from_secs(60), async || {
        manager.standing("ForeshadowStaleData").await
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
        manager.standing("ForeshadowCertificateEnds").await
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
        let over = manager.standing("ForeshadowStaleData").await?.is_none();
        Ok((over && hook.told("stale_data", "resolved") == 1).then_some(()))
    })
    .await?;
    assert_eq!(hook.told("stale_data", "firing"), 1, "once");
    assert!(manager.standing("ForeshadowCertificateEnds").await?.is_some());
    assert_eq!(hook.told("certificate_ends", "firing"), 1);
    assert!(agent.terminate().await?.success());
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// Groups that act: one whose provider has no capacity, and one that may cost no more.
#[tokio::test(flavor = "multi_thread")]
async fn failing_launches_and_a_spent_budget_reach_both_as_they_happen() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let manager = Alertmanager::start(directory.path()).await?;
    let hook = Hook::default();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "between the two of us\n")?;
    // Two machines of `shop` cost all that it may.
    let more = format!(
        "[shadow.prices_per_hour]\n\"m5.large\" = 0.5\n[group.shop]\nspend_per_hour = 1.0\n\
         [notify]\nafter_seconds = 0\n[notify.alertmanager]\nurl = \"{}\"\n[notify.webhook]\nurl = \"{}\"\nsecret_file = \"{}\"\n",
        manager.url,
        hook.start().await?,
        secret.display()
    );
    let setup = Setup { groups: &["web", "shop"], size: 2, load: 60, more: &more, ..Setup::default() };
    let world = World::start_with(setup).await?;
    let arrives = async |kind: &str, name: &str| {
        let alert =
            eventually(name, WITHIN, async || manager.standing(name).await).await.with_context(|| world.said())?;
        eventually(kind, WITHIN, async || Ok((hook.told(kind, "firing") == 1).then_some(()))).await?;
        Ok::<_, anyhow::Error>(alert)
    };
    for kind in ["launches_fail", "shadow_budget_spent"] {
        assert_eq!(hook.told(kind, "firing"), 0, "nothing is the matter yet: {kind}");
    }

    let why = "no capacity for m5.large in zone a";
    world.refuse_launches("web", why)?;
    world.set_minimum("web", 3)?;
    let failing = arrives("launches_fail", "ForeshadowLaunchesFail").await?;
    assert_eq!((&failing["labels"]["group"], &failing["labels"]["severity"]), (&"web".into(), &"page".into()));
    // The provider's words are where the alarm says they are.
    ensure!(
        failing["annotations"]["description"].as_str().is_some_and(|text| text.contains("journal --group web")),
        "{failing}"
    );
    let intents = world.intents("web").await?;
    ensure!(intents.iter().any(|it| it["settled"].to_string().contains(why)), "{intents:#?}");

    world.set_minimum("shop", 3)?;
    let spent = arrives("shadow_budget_spent", "ForeshadowShadowBudgetSpent").await?;
    assert_eq!((&spent["labels"]["group"], &spent["labels"]["severity"]), (&"shop".into(), &"ticket".into()));
    ensure!(spent["annotations"]["summary"].as_str().is_some_and(|text| text.contains("1.00 an hour")), "{spent}");
    assert_eq!((world.machines("web")?, world.machines("shop")?), (2, 2), "nobody was launched");

    // Two are enough again: the budget's alarm is over, for both; the launch's back-off stands.
    world.set_minimum("shop", 1)?;
    eventually("the end of the budget's alarm", WITHIN, async || {
        let over = manager.standing("ForeshadowShadowBudgetSpent").await?.is_none();
        Ok((over && hook.told("shadow_budget_spent", "resolved") == 1).then_some(()))
    })
    .await?;
    assert!(manager.standing("ForeshadowLaunchesFail").await?.is_some());
    assert_eq!((hook.told("launches_fail", "firing"), hook.told("shadow_budget_spent", "firing")), (1, 1), "once each");
    Ok(())
}

/// What the forecasts of `web` came to in the last ten hours, of an interval that promised four in five: so many of 24 an hour were
/// within it.
async fn held(directory: &Path, inside: i64) -> anyhow::Result<()> {
    let pool = SqlitePool::connect(&format!("sqlite://{}", directory.join("data/foreshadow.db").display())).await?;
    let (_, write) = foreshadow::sql::statements().find(|(name, _)| *name == "FORECAST_HOUR_WRITE").context("it")?;
    let this_hour = SystemClock.wall_seconds().div_euclid(3_600);
    for hour in this_hour - 10..this_hour {
        let row = sqlx::query(write).bind("web").bind("cpu").bind("1h").bind(hour * 3_600).bind(0.8);
        row.bind(inside).bind(24_i64).bind(80.0).bind(100.0).bind(24_i64).execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}

/// An Alertmanager, a server of one's own, and a configuration that tells both of a group with one instance.
async fn told_of_web(directory: &Path) -> anyhow::Result<(Alertmanager, Hook, String)> {
    let manager = Alertmanager::start(directory).await?;
    let hook = Hook::default();
    let (secret, inventory) = (directory.join("secret"), directory.join("inventory.toml"));
    std::fs::write(&secret, "between the two of us\n")?;
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n")?;
    let config = format!(
        "[inventory]\nfile = {inventory:?}\ninterval_seconds = 5\nwarm_up_seconds = 0\n[notify]\nafter_seconds = 0\n\
         [notify.alertmanager]\nurl = \"{}\"\n[notify.webhook]\nurl = \"{}\"\nsecret_file = {secret:?}\n",
        manager.url,
        hook.start().await?,
    );
    Ok((manager, hook, config))
}

/// What was published and came due outside is on the disk: a forecast that is made from a group's own past has it against itself.
#[tokio::test(flavor = "multi_thread")]
async fn intervals_that_do_not_hold_reach_both_as_does_their_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (manager, hook, config) = told_of_web(directory.path()).await?;
    // The first run makes the database.
    let first = Aggregator::start(directory.path(), &config).await?;
    ensure!(first.process.terminate().await?.success());
    steady(directory.path(), "web", 90.0, 3).await?;
    held(directory.path(), 12).await?;
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let lost = eventually("the alarm of what did not hold", Duration::from_secs(120), async || {
        manager.standing("ForeshadowCoverageLost").await
    })
    .await?;
    assert_eq!((&lost["labels"]["group"], &lost["labels"]["severity"]), (&"web".into(), &"ticket".into()), "{lost}");
    let (summary, description) = (&lost["annotations"]["summary"], &lost["annotations"]["description"]);
    assert_eq!(*summary, "intervals of web cpu held 50 % of the time and promise 80 %");
    ensure!(description.as_str().is_some_and(|text| text.contains("foreshadow models web")), "{lost}");
    let forecast = &web::get_json(&format!("{}/groups/web", aggregator.url)).await?["forecasts"][0];
    assert_eq!((&forecast["measured_coverage"], &forecast["nominal_coverage"]), (&0.5.into(), &0.8.into()));
    eventually("the change", WITHIN, async || Ok((hook.told("coverage_lost", "firing") == 1).then_some(()))).await?;

    // Its past is told anew, from elsewhere: what came of forecasts that were made of the old one speaks of these no more.
    let from = (SystemClock.wall_seconds() - 4 * 86_400).div_euclid(60) * 60;
    let past =
        json!({"metric": "cpu", "source": "elsewhere", "from": from, "to": from + 60, "minutes": [[from, 90.0, 3.0]]});
    let url = format!("{}/groups/web/history", aggregator.url);
    let taken = web::request(http::Method::POST, &url, &[], past.to_string()).await?;
    ensure!(taken.status == 200, "{}", taken.body);
    eventually("the end of the alarm", Duration::from_secs(120), async || {
        let over = manager.standing("ForeshadowCoverageLost").await?.is_none();
        Ok((over && hook.told("coverage_lost", "resolved") == 1).then_some(()))
    })
    .await?;
    assert_eq!(hook.told("coverage_lost", "firing"), 1, "once");
    ensure!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// What stands is not told anew after a restart, what is over by then is, and what was not taken before it waits on.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_tells_nothing_twice_and_owes_nobody_an_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let hook = Hook::default();
    let (secret, inventory) = (directory.path().join("secret"), directory.path().join("inventory.toml"));
    std::fs::write(&secret, "between the two of us\n")?;
    let group = |name: &str| format!("[group.{name}]\nminimum = 1\nmaximum = 4\ninstances = [\"i-{name}\"]\n");
    std::fs::write(&inventory, group("web") + &group("shop"))?;
    let config = format!(
        "[inventory]\nfile = {inventory:?}\ninterval_seconds = 5\nwarm_up_seconds = 0\n[notify]\nafter_seconds = 0\n\
         [notify.webhook]\nurl = \"{}\"\nsecret_file = {secret:?}\n",
        hook.start().await?
    );
    let port = free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let told = async |group: &str, status: &str| {
        let what = format!("{group}: {status}");
        eventually(&what, WITHIN, async || Ok((!hook.stale(group, status).is_empty()).then_some(()))).await
    };

    // Nobody reports in either group, and that is told. It dies; one group's agent is there when it is back, and a third group is new.
    let first = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    told("web", "firing").await?;
    told("shop", "firing").await?;
    first.process.kill().await?;
    std::fs::write(&inventory, group("web") + &group("shop") + &group("late"))?;
    let web = agent(directory.path(), &url, "i-web", &[])?;
    let second = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    told("web", "resolved").await?;
    // In the look that told of it the other was seen as well.
    told("late", "firing").await?;
    assert_eq!(hook.stale("web", "resolved"), hook.stale("web", "firing"), "once each, and of the same alarm");
    assert_eq!((hook.stale("shop", "firing").len(), hook.stale("shop", "resolved").len()), (1, 0), "it stands");

    // Whom it is told to is away when the second is over, and back only after another restart.
    hook.down.store(true, Ordering::Relaxed);
    let shop = agent(directory.path(), &url, "i-shop", &[])?;
    let refused = "foreshadow_notifications_total{to=\"webhook\",outcome=\"failed\"}";
    eventually("a change that is not taken", WITHIN, async || {
        let metrics = web::get(&second.url_of("/metrics")).await?.body;
        Ok(metrics.lines().any(|line| line.starts_with(refused)).then_some(()))
    })
    .await?;
    second.process.kill().await?;
    hook.down.store(false, Ordering::Relaxed);
    let third = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    told("shop", "resolved").await?;
    for group in ["web", "shop"] {
        assert_eq!(hook.stale(group, "resolved"), hook.stale(group, "firing"), "{group}: once each");
    }
    assert_eq!(hook.stale("late", "firing").len(), 1, "once");
    for agent in [web, shop] {
        ensure!(agent.terminate().await?.success());
    }
    ensure!(third.process.terminate().await?.success());
    Ok(())
}

/// The store's disk fills up under an agent that reports: samples are refused, and minutes and plans cannot be written either.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_the_plans_it_prevents_reach_both_as_does_their_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(directory.path().join("data"), "3m").await? else {
        return Ok(());
    };
    let (manager, hook, config) = told_of_web(directory.path()).await?;
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let agent = agent(directory.path(), &aggregator.url, "i-1", &[])?;
    let group = format!("{}/groups/web", aggregator.url);
    eventually("present need", WITHIN, async || {
        Ok(web::get_json(&group).await?["plan"]["need_now"].is_u64().then_some(()))
    })
    .await?;
    let both = [
        ("store_refuses", "ForeshadowStoreRefuses", "the store refuses samples: "),
        ("group_without_plan", "ForeshadowGroupWithoutPlan", "web has had no plan for "),
    ];
    for (kind, name, _) in both {
        assert_eq!((manager.standing(name).await?, hook.told(kind, "firing")), (None, 0), "nothing is the matter yet");
    }

    let filler = disk.fill().await?;
    for (kind, name, summary) in both {
        // No plan for a minute, after one that may have been made as the disk filled up. What SQLite gives free when a write fails would do
        // for small ones for minutes.
        let alert = eventually(name, Duration::from_secs(240), async || {
            disk.fill().await?;
            manager.standing(name).await
        })
        .await
        .with_context(|| aggregator.process.output())?;
        assert_eq!(alert["labels"]["severity"], "page", "{alert}");
        ensure!(alert["annotations"]["summary"].as_str().is_some_and(|text| text.starts_with(summary)), "{alert}");
        // A disk that is all but full may take one more write: then it is told again.
        eventually(kind, WITHIN, async || Ok((hook.told(kind, "firing") >= 1).then_some(()))).await?;
    }
    let log = aggregator.process.output();
    ensure!(log.contains("no plan in this round"), "the remedy sends people to the log: {log}");

    std::fs::remove_file(&filler)?;
    for (kind, name, _) in both {
        eventually(&format!("the end of {name}"), Duration::from_secs(240), async || {
            let over = hook.told(kind, "firing") == hook.told(kind, "resolved");
            Ok((over && manager.standing(name).await?.is_none()).then_some(()))
        })
        .await?;
    }
    ensure!(agent.terminate().await?.success());
    ensure!(aggregator.process.terminate().await?.success());
    Ok(())
}
