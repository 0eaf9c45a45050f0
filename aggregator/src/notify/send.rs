//! Carries alarms: to Alertmanager all that stand, again and again as it wants it; to a server of one's own each change once, in
//! order, until it is taken.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use super::alarm::{alarms, is_known};
use super::kept::{Kept, Waiting};
use super::told::{Standing, Told};
use crate::clock::Clock;
use crate::config::Notify;
use crate::exchange::{exchange, secret, trust};
use crate::fleet::webhook::{SIGNATURE, TIMESTAMP, signature};
use crate::rounds::Board;
use crate::store::SampleStore;

/// Looked this often.
const EVERY: Duration = Duration::from_secs(10);
/// Alertmanager hears of what stands at least this often, and holds it for so long without being told again, seconds.
const REPEATED_EVERY: i64 = 60;
const HELD_SECONDS: i64 = 300;
/// One request takes this long at most.
const DEADLINE: Duration = Duration::from_secs(10);
/// No answer is longer.
const LONGEST: usize = 64 * 1_024;
/// Changes that wait for a server that is down; the oldest are dropped first.
pub(super) const MOST_WAITING: usize = 1_000;
/// Changes in one request.
const AT_ONCE: usize = 50;

/// Tells people.
#[derive(Debug)]
pub struct Service {
    config: Notify,
    board: Board,
    store: Arc<dyn SampleStore>,
    clock: Arc<dyn Clock>,
    /// Files with the end of what is in them, seconds since the epoch.
    certificates: Vec<(String, i64)>,
    told: Told,
    kept: Kept,
    repeated: Option<i64>,
    waiting: Waiting,
    /// Place of the next that waits.
    place: i64,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Service {
    pub fn new(
        config: Notify,
        board: Board,
        store: Arc<dyn SampleStore>,
        clock: Arc<dyn Clock>,
        certificates: Vec<(String, i64)>,
        pool: SqlitePool,
    ) -> Self {
        let told = Told::new(i64::from(config.after_seconds));
        Self {
            config,
            board,
            store,
            clock,
            certificates,
            told,
            kept: Kept::new(pool),
            repeated: None,
            waiting: Waiting::new(),
            place: 0,
            tls: OnceLock::new(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        match self.kept.read().await {
            Ok((told, waiting)) => {
                self.told.go_on(told, self.clock.wall_seconds());
                self.place = waiting.back().map_or(0, |(place, _)| place + 1);
                self.waiting = waiting;
            }
            Err(error) => tracing::error!(%error, "what was told of alarms cannot be read: what stands is told anew"),
        }
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&mut self) {
        let now = self.clock.wall_seconds();
        let refusing = self.store.health().await.refusing;
        let reports = self.board.reports();
        let found = alarms(&reports, refusing.as_deref(), &self.certificates, now);
        let news = self.told.on(found, now, |alarm| is_known(alarm, &reports));
        for standing in &news {
            let (kind, summary) = (standing.alarm.kind.name(), &standing.alarm.summary);
            tracing::warn!(alarm = kind, over = standing.over.is_some(), summary, "alarm");
        }
        if self.config.webhook.is_some() {
            self.waiting.extend((self.place..).zip(news.iter().map(change)));
            self.place = self.waiting.back().map_or(self.place, |(place, _)| place + 1);
            while self.waiting.len() > MOST_WAITING {
                self.waiting.pop_front();
                count("webhook", "dropped");
            }
        } else {
            self.waiting.clear();
        }
        // Before anybody is told: what is told twice has the same id, what is not told is told by nobody.
        self.keep().await;
        let due = !news.is_empty() || self.repeated.is_none_or(|at| now - at >= REPEATED_EVERY);
        if due && self.alertmanager(now).await {
            self.repeated = Some(now);
        }
        self.webhook(now).await;
        self.keep().await;
    }

    async fn keep(&mut self) {
        if let Err(error) = self.kept.write(self.told.told(), &self.waiting).await {
            tracing::warn!(%error, "what was told of alarms cannot be kept; a restart now would tell it anew");
        }
    }

    /// All that stands or was over a moment ago; whether it was taken.
    async fn alertmanager(&self, now: i64) -> bool {
        let Some(manager) = &self.config.alertmanager else { return true };
        let alerts: Vec<Value> =
            self.told.told().map(|standing| alert(standing, now, self.config.link.as_deref())).collect();
        if alerts.is_empty() {
            return true;
        }
        let url = format!("{}/api/v2/alerts", manager.url.to_string().trim_end_matches('/'));
        let token = match &manager.token_file {
            None => Ok(None),
            Some(file) => secret(file, "Bearer ").await.map(Some),
        };
        let headers = match token {
            Ok(token) => token.into_iter().map(|token| (header::AUTHORIZATION.as_str(), token)).collect(),
            Err(problem) => return self.outcome("alertmanager", Err(problem)),
        };
        let sent = self.post(&url, headers, Value::from(alerts).to_string()).await;
        self.outcome("alertmanager", sent)
    }

    /// What waits, in order; what is not taken waits on.
    async fn webhook(&mut self, now: i64) {
        let Some(webhook) = &self.config.webhook else { return };
        while !self.waiting.is_empty() {
            let some: Vec<&Value> = self.waiting.iter().take(AT_ONCE).map(|(_, change)| change).collect();
            let count = some.len();
            let body = json!({ "link": self.config.link, "changes": some }).to_string();
            let signed = sign(&webhook.secret_file, now, &body).await;
            let sent = match signed {
                Ok(headers) => self.post(&webhook.url.to_string(), headers, body).await,
                Err(problem) => Err(problem),
            };
            if !self.outcome("webhook", sent) {
                return;
            }
            self.waiting.drain(..count);
        }
    }

    async fn post(&self, url: &str, headers: Vec<(&str, HeaderValue)>, body: String) -> Result<(), String> {
        let url: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        let tls = || self.tls.get_or_init(|| trust(None).map(Arc::new).map_err(|error| format!("{error:#}"))).clone();
        let answer = tokio::time::timeout(DEADLINE, exchange(&url, request, tls, LONGEST)).await;
        let answer = answer.map_err(|_| format!("{url}: no answer within {} s", DEADLINE.as_secs()))?;
        let answer = answer.map_err(|error| format!("{url}: {error}"))?;
        if answer.status.is_success() {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        Err(format!("{url}: {}: {said}", answer.status))
    }

    fn outcome(&self, to: &'static str, sent: Result<(), String>) -> bool {
        count(to, if sent.is_ok() { "sent" } else { "failed" });
        if let Err(problem) = &sent {
            tracing::warn!(to, problem, "alarms are not taken; trying again");
        }
        sent.is_ok()
    }
}

fn count(to: &'static str, outcome: &'static str) {
    metrics::counter!("foreshadow_notifications_total", "to" => to, "outcome" => outcome).increment(1);
}

/// Signed as questions to a fleet of one's own are.
async fn sign(file: &Path, now: i64, body: &str) -> Result<Vec<(&'static str, HeaderValue)>, String> {
    let secret = tokio::fs::read(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    let secret = secret.trim_ascii();
    if secret.is_empty() {
        return Err(format!("{} is empty: nobody could tell our alarms from others'", file.display()));
    }
    let timestamp = now.to_string();
    let signed = signature(secret, &timestamp, body.as_bytes())?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    Ok(vec![(SIGNATURE, value(&signed)?), (TIMESTAMP, value(&timestamp)?)])
}

fn time(at: i64) -> String {
    jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
}

/// As Alertmanager takes it: what stands ends by itself when nobody says so again.
fn alert(standing: &Standing, now: i64, link: Option<&str>) -> Value {
    let alarm = &standing.alarm;
    let mut labels = json!({"alertname": alarm.kind.name(), "severity": alarm.severity, "subject": alarm.subject});
    if let (Some(labels), Some(group)) = (labels.as_object_mut(), &alarm.group) {
        labels.insert("group".to_owned(), group.as_str().into());
    }
    let mut alert = json!({
        "labels": labels,
        "annotations": {"summary": alarm.summary, "description": alarm.remedy},
        "startsAt": time(standing.since),
        "endsAt": time(standing.over.unwrap_or(now + HELD_SECONDS)),
    });
    if let (Some(alert), Some(link)) = (alert.as_object_mut(), link) {
        alert.insert("generatorURL".to_owned(), link.into());
    }
    alert
}

/// One change; its id is the same however often it is sent.
fn change(standing: &Standing) -> Value {
    let key = (standing.alarm.kind, &standing.alarm.subject, standing.since, standing.over);
    let digest = Sha256::digest(serde_json::to_vec(&key).unwrap_or_default());
    let id: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    json!({
        "id": id,
        "status": if standing.over.is_some() { "resolved" } else { "firing" },
        "alarm": standing.alarm,
        "since": time(standing.since),
        "over": standing.over.map(time),
    })
}
