//! Starts the parts in order, watches them, and ends them in order.
//!
//! Bind first, so that a port that is taken is known before anything works; accept last. A part
//! that ends by itself ends the process with an error: a supervisor restarts it, nobody limps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foreshadow_agent::reader::Fault;
use foreshadow_proto::convert::Id;
use metrics_exporter_prometheus::PrometheusHandle;
use planner::policy::{Metric, Mode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::act::{self, Control, Intents};
use crate::api::{self, ApiState, Bound, Listen, ServeError, Weeks};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, InfluxApi};
use crate::decision::DecisionLog;
use crate::events::EventLog;
use crate::fleet::{self, AwsFleet, AwsQueue, Budgets, FileFleet, Fleet, Reach, Turns};
use crate::identity::{
    self, Access, Audit, Authority, AuthorityError, Callers, EnrolService, Enrolments, InstanceDocuments, Managed,
};
use crate::import::ImportLog;
use crate::ingest::keep::Senders;
use crate::ingest::{AgentService, prometheus};
use crate::leash::{self, CommonLimits, FileLimits, Leash, LeashError};
use crate::live::Live;
use crate::notify;
use crate::observe::{Observer, Patience, Timeline, read_letters};
use crate::readings::Readings;
use crate::reload::{self, Reload, Source};
use crate::rounds::{self, Board, ForecastHours, GroupPolicy, Learned, PlanLog, PulseLog, Revised};
use crate::shadow::{Sessions, ShadowConfig, ShadowError};
use crate::store::{self, Embedded, SampleStore, StoreError, WithInfluxDb};
use crate::telemetry;
use crate::traces::{self, Traces};
use crate::watchdog;

/// The store folds and expires this often.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);
/// An instance that no source knows is gone after this silence, µs.
const SILENT_MICROS: i64 = 300_000_000;
/// How long the parts may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Every fault of the configuration.
    #[error("the configuration has {} fault(s)", .0.len())]
    Config(Vec<Fault>),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Shadow(#[from] ShadowError),
    #[error(transparent)]
    Leash(#[from] LeashError),
    #[error("the state database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("signals cannot be followed: {0}")]
    Signal(std::io::Error),
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Random bytes for ids and tokens.
#[allow(clippy::disallowed_methods, reason = "this is the seam")]
pub fn random<const N: usize>() -> [u8; N] {
    foreshadow_agent::clock::random()
}

/// A running aggregator.
#[derive(Debug)]
pub struct Running {
    pub url: String,
    pub board: Board,
    pub live: Live,
    pub store: Arc<dyn SampleStore>,
    pub act: act::Handle,
    shutdown: CancellationToken,
    ingest_stop: CancellationToken,
    running: Arc<AtomicBool>,
    reload: Reload,
    parts: JoinSet<&'static str>,
    server: tokio::task::JoinHandle<()>,
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration file again.
pub async fn serve(source: Source) -> Result<(), SuperviseError> {
    let config = source.read().map_err(SuperviseError::Config)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(SuperviseError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SuperviseError::Signal)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(SuperviseError::Signal)?;
    let mut running = Box::pin(start(config)).await?;
    println!("listening on {}", running.url);
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hangup.recv() => running.reload.run(&source).await,
            ended = running.ended() => break Some(ended),
        }
    };
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    tracing::info!("stopping");
    running.stop().await;
    ended.map_or(Ok(()), |part| Err(SuperviseError::Ended(part)))
}

/// Starts everything; nothing is accepted before all of it stands.
pub async fn start(config: Config) -> Result<Running, SuperviseError> {
    let Named { access, models: pool_of_models, documents } = named(&config).map_err(SuperviseError::Config)?;
    let listen = listen(&config, access.is_authenticated());
    listen.check()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let authority = listen.tls.as_ref().map(|_| authority(&config, clock.wall_seconds())).transpose();
    let authority = authority.map_err(ServeError::from)?;
    let bound = listen.bind(authority.as_ref()).await?;
    let url = bound.url();
    let metrics = recorder();
    let embedded = Embedded::open(store_options(&config.store), clock.clone(), random()).await?;
    let pool = embedded.pool();
    let store: Arc<dyn SampleStore> = match &config.store.influxdb {
        None => Arc::new(embedded),
        Some(influxdb) => Arc::new(WithInfluxDb::open(embedded, influxdb, clock.wall_seconds()).await?),
    };
    // All that is sent to one region waits by one budget.
    let budgets = config.inventory.aws.as_ref().map(|aws| Budgets::new(aws.calls_per_second)).unwrap_or_default();
    let turns = Arc::new(Intents::new(pool.clone()));
    let fleets = sources(&config.inventory, &budgets, turns, &clock).await;
    let reach: BTreeMap<String, Reach> = fleets.iter().map(|fleet| (fleet.name().to_owned(), fleet.reach())).collect();
    check_limits(&config, &reach).map_err(SuperviseError::Config)?;
    let control = Control::open(pool.clone(), ceilings(&config), clock.wall_seconds()).await?;
    let leash = Leash::open(pool.clone(), control, limits(&config, &reach), clock.wall_seconds()).await?;
    let timeline = Timeline::new(
        patience(&leash.common()),
        config.agents.interval_seconds * 1_000,
        config.agents.shadow_interval_seconds * 1_000,
    );
    let sessions = Sessions::open(pool.clone(), timeline.clone(), leash.common().shadow, clock.now()).await?;
    let observer = Observer::open(
        timeline.clone(),
        sessions.clone(),
        fleets.clone(),
        pool.clone(),
        clock.clone(),
        Duration::from_secs(u64::from(config.inventory.interval_seconds)),
    )
    .await?;
    let telling = config.traces.clone().map(|config| traces::Service::new(config, store.id()));
    let traces = telling.as_ref().map_or_else(Traces::default, traces::Service::handle);
    let acting = act::Service::open(
        store.id(),
        leash,
        Intents::new(pool.clone()),
        DecisionLog::new(pool.clone()),
        fleets,
        sessions.clone(),
        timeline.clone(),
        observer.hint(),
        traces,
        clock.clone(),
    )
    .await?;
    let act = acting.handle();
    let audit = Audit::open(pool.clone()).await?;
    let managed = Managed::open(pool.clone()).await?;
    let certificate_seconds = config.identity.certificate_seconds;
    let enrolments = Enrolments::open(pool.clone(), audit.clone(), managed.clone(), certificate_seconds).await?;
    let (shutdown, ingest_stop) = (CancellationToken::new(), CancellationToken::new());
    let (board, live, plans) = (Board::default(), Live::default(), PlanLog::new(pool.clone()));
    let forecast_hours = ForecastHours::new(pool.clone());
    let events = EventLog::new(pool.clone());
    let (imports, revised) = (ImportLog::new(pool.clone()), Revised::default());
    let readings = Readings::new(pool.clone(), config.metrics.clone());
    let ingest = AgentService::new(
        store.clone(),
        timeline.clone(),
        live.clone(),
        enrolments.clone(),
        clock.clone(),
        ingest_stop.clone(),
    );
    let service = rounds::Service::new(
        rounds_options(&config, pool_of_models, access.is_authenticated()),
        store.clone(),
        timeline.clone(),
        live.clone(),
        board.clone(),
        rounds::Logs {
            pulses: PulseLog::new(pool.clone()),
            forecast_hours: forecast_hours.clone(),
            learned: Learned::new(config.store.directory.join("learned")),
            plans: plans.clone(),
            events: events.clone(),
            revised: revised.clone(),
            readings: readings.clone(),
        },
        sessions.clone(),
        act.clone(),
        clock.clone(),
    );
    let heartbeat = service.heartbeat();
    let reload = Reload {
        config: config.clone(),
        reach,
        act: act.clone(),
        timeline: timeline.clone(),
        sessions: sessions.clone(),
        revised: revised.clone(),
        clock: clock.clone(),
        refused: reload::Refused::default(),
    };
    let running = Arc::new(AtomicBool::new(false));
    let state = ApiState {
        enrol: EnrolService::new(
            authority,
            documents,
            enrolments.clone(),
            timeline.clone(),
            observer.hint(),
            clock.clone(),
        ),
        callers: Arc::new(Callers::new(access, managed, enrolments)),
        audit,
        store: store.clone(),
        timeline,
        hint: observer.hint(),
        sessions,
        act: act.clone(),
        board: board.clone(),
        plans,
        forecast_hours,
        events,
        imports,
        readings,
        senders: Senders::new(&config),
        revised,
        weeks: Weeks::default(),
        live: live.clone(),
        ingest,
        clock: clock.clone(),
        metrics,
        running: running.clone(),
        refused: reload.refused.clone(),
        shutdown: shutdown.clone(),
    };
    let mut parts = JoinSet::new();
    if let Some((aws, url)) = config.inventory.aws.as_ref().and_then(|aws| Some((aws, aws.queue.as_ref()?))) {
        let queue = AwsQueue::new(url, aws.groups.clone(), aws.region.clone(), &budgets, clock.clone()).await;
        let (hint, timeline, clock, stop) = (observer.hint(), state.timeline.clone(), clock.clone(), shutdown.clone());
        parts.spawn(async move {
            read_letters(queue, hint, timeline, clock, stop).await;
            "the event queue"
        });
    }
    if let Some((config, tracks)) = config.prometheus.clone().zip(state.senders.prometheus.clone()) {
        let (asking, stop) = (prometheus::Service::new(config, tracks, state.keeper()), shutdown.clone());
        parts.spawn(async move {
            asking.run(stop).await;
            "the questions to Prometheus"
        });
    }
    let stop = shutdown.clone();
    parts.spawn(async move {
        observer.run(stop).await;
        "the observer"
    });
    let stop = shutdown.clone();
    parts.spawn(async move {
        acting.run(stop).await;
        "the executor"
    });
    if let Some(notify) = &config.notify {
        let certificates = certificates(&config);
        let alarming = notify::Service::new(
            notify.clone(),
            board.clone(),
            store.clone(),
            clock.clone(),
            certificates,
            pool.clone(),
        );
        let stop = shutdown.clone();
        parts.spawn(async move {
            alarming.run(stop).await;
            "the alarms"
        });
    }
    if let Some(telling) = telling {
        let stop = shutdown.clone();
        parts.spawn(async move {
            telling.run(stop).await;
            "the traces"
        });
    }
    let stop = shutdown.clone();
    parts.spawn(async move {
        service.run(stop).await;
        "the rounds"
    });
    if let Some(every) = watchdog::wanted() {
        let (clock, stop) = (clock.clone(), shutdown.clone());
        parts.spawn(async move {
            watchdog::run(heartbeat, every, clock, stop).await;
            "the watchdog"
        });
    }
    reload::told(true, clock.wall_seconds());
    parts.spawn(maintain(store.clone(), state.callers.clone(), clock, shutdown.clone()));
    let server = spawn_server(bound, state, shutdown.clone());
    running.store(true, Ordering::Relaxed);
    tracing::info!(url, "aggregator runs");
    Ok(Running { url, board, live, store, act, shutdown, ingest_stop, running, reload, parts, server })
}

impl Running {
    /// Waits for a part that ends by itself, which none should.
    pub async fn ended(&mut self) -> &'static str {
        match self.parts.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(error)) => {
                tracing::error!(%error, "a part panicked");
                "a part"
            }
            None => std::future::pending().await,
        }
    }

    /// Stops in order: agents first, so that what they sent is stored and acknowledged, then the
    /// rest, the store last.
    pub async fn stop(mut self) {
        self.running.store(false, Ordering::Relaxed);
        self.ingest_stop.cancel();
        self.shutdown.cancel();
        let parts = async {
            drop(self.server.await);
            while self.parts.join_next().await.is_some() {}
        };
        if tokio::time::timeout(STOP_DEADLINE, parts).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
        if tokio::time::timeout(STOP_DEADLINE, self.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time; its write-ahead log is read at the next start");
        }
    }
}

/// Where systemd keeps what it gives to one service alone, while that runs.
const CREDENTIALS: &str = "/run/credentials";

/// Checks a configuration as [`start`] does, and begins nothing: what is found right here is not refused there. `files`: those it
/// names are looked at. Gives the ones that were not, which systemd alone can give to the service.
///
/// # Errors
/// Every fault.
pub async fn check(config: &Config, files: bool) -> Result<Vec<PathBuf>, Vec<Fault>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let left = |path: &Path| !files || path.starts_with(CREDENTIALS) && !path.exists();
    let (here, mut elsewhere) = without(config, left);
    let mut faults = named(&here).err().unwrap_or_default();
    for (key, path) in secrets(config) {
        if left(path) {
            elsewhere.push(path.clone());
        } else if let Err(problem) = secret(path) {
            faults.push(config.fault(&key, format!("{}: {problem}", path.display())));
        }
    }
    let of_key = |error: ServeError| config.fault(error.key(&config.listen), error.to_string());
    faults.extend(listen(config, config.identity.tokens.is_some()).check().err().map(of_key));
    faults.extend(listen(&here, true).check_files().err().map(of_key));
    if let Some((certificate, key)) = &here.identity.authority
        && let Err(error) = Authority::read(certificate, key, clock.wall_seconds())
    {
        faults.push(config.fault("identity.authority_certificate", error.to_string()));
    }
    // How far a source reaches is asked only where it matters: an SDK looks for its region and its endpoints.
    if !config.safety.problems(false).is_empty() {
        let (budgets, turns) = (Budgets::default(), Arc::new(fleet::InMemory::default()));
        let fleets = sources(&config.inventory, &budgets, turns, &clock).await;
        let reach = fleets.iter().map(|fleet| (fleet.name().to_owned(), fleet.reach())).collect();
        faults.extend(check_limits(config, &reach).err().into_iter().flatten());
    }
    faults.sort_by_key(|fault| fault.line);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(if files { elsewhere } else { Vec::new() })
}

/// The files that hold a secret, with the keys that name them. Who uses one reads it anew each time, so that it can be renewed: without
/// this a wrong one would be found out at night.
fn secrets(config: &Config) -> Vec<(String, &PathBuf)> {
    let mut found: Vec<(&str, Option<&PathBuf>)> = Vec::new();
    match config.store.influxdb.as_ref().map(|influxdb| &influxdb.api) {
        Some(InfluxApi::V2 { token_file, .. }) => found.push(("store.influxdb.token_file", Some(token_file))),
        Some(InfluxApi::V1 { token_file, user, .. }) => {
            found.push(("store.influxdb.token_file", token_file.as_ref()));
            found.push(("store.influxdb.password_file", user.as_ref().map(|(_, password_file)| password_file)));
        }
        None => {}
    }
    let webhook = config.inventory.webhook.as_ref();
    found.push(("inventory.webhook.secret_file", webhook.map(|webhook| &webhook.secret_file)));
    if let Some(notify) = &config.notify {
        let manager = notify.alertmanager.as_ref().and_then(|manager| manager.token_file.as_ref());
        found.push(("notify.alertmanager.token_file", manager));
        found.push(("notify.webhook.secret_file", notify.webhook.as_ref().map(|webhook| &webhook.secret_file)));
    }
    let traces = config.traces.as_ref();
    found.push(("traces.token_file", traces.and_then(|traces| traces.token_file.as_ref())));
    let headers = traces.into_iter().flat_map(|traces| &traces.header_files);
    let headers = headers.map(|(name, path)| (format!("traces.header_files.{name}"), path));
    found.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path?))).chain(headers).collect()
}

/// A secret can be read, and is one.
fn secret(path: &Path) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    if text.trim_ascii().is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

/// The configuration without those files that are `left`, and which they are.
fn without(config: &Config, left: impl Fn(&Path) -> bool) -> (Config, Vec<PathBuf>) {
    let (mut here, mut elsewhere) = (config.clone(), Vec::new());
    let mut leaves = |path: &PathBuf| {
        let leaves = left(path);
        elsewhere.extend(leaves.then(|| path.clone()));
        leaves
    };
    drop(here.identity.tokens.take_if(|path| leaves(path)));
    drop(here.forecast.network.take_if(|path| leaves(path)));
    drop(here.identity.authority.take_if(|(certificate, key)| leaves(certificate) | leaves(key)));
    drop(here.identity.aws.take_if(|aws| leaves(&aws.certificates)));
    // Each of the two is of no use without the other, except to say that there is TLS.
    let certificate = here.listen.certificate.as_ref().is_some_and(&mut leaves);
    if here.listen.key.as_ref().is_some_and(&mut leaves) || certificate {
        here.listen.key = None;
    }
    (here, elsewhere)
}

/// What a configuration names by its file.
struct Named {
    access: Access,
    models: forecast::Pool,
    documents: Option<InstanceDocuments>,
}

/// Reads what a configuration names.
fn named(config: &Config) -> Result<Named, Vec<Fault>> {
    let access = config.identity.tokens.as_deref().map_or(Ok(Access::Open), Access::load);
    // What is wrong within the file stands at its own line; what is wrong with the file, at the key that names it.
    let access = access.map_err(|faults| {
        let whole = |fault: &Fault| fault.line == 0 && fault.key.is_empty();
        let placed = faults.into_iter().map(|fault| match whole(&fault) {
            true => config.fault("identity.tokens", format!("{} {}", fault.file, fault.problem)),
            false => fault,
        });
        placed.collect::<Vec<_>>()
    });
    let documents = instance_documents(config, config.listen.certificate.is_some());
    match (access, models(config), documents) {
        (Ok(access), Ok(models), Ok(documents)) => Ok(Named { access, models, documents }),
        (access, models, documents) => {
            let faults = [access.err(), models.err(), documents.err()];
            Err(faults.into_iter().flatten().flatten().collect())
        }
    }
}

fn listen(config: &Config, authenticated: bool) -> Listen {
    Listen {
        address: config.listen.address,
        tls: config.listen.certificate.clone().zip(config.listen.key.clone()),
        insecure: config.listen.insecure,
        quic: config.listen.quic,
        authenticated,
    }
}

fn spawn_server(bound: Bound, state: ApiState, shutdown: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { bound.serve(api::router(state), shutdown).await })
}

/// The operator's authority, or our own in the store's directory.
fn authority(config: &Config, now: i64) -> Result<Authority, AuthorityError> {
    match &config.identity.authority {
        Some((certificate, key)) => Authority::read(certificate, key, now),
        None => Authority::own(&config.store.directory.join("identity"), now),
    }
}

/// What checks instance identity documents; the certificates of its regions are read once.
fn instance_documents(config: &Config, tls: bool) -> Result<Option<InstanceDocuments>, Vec<Fault>> {
    let Some(aws) = &config.identity.aws else { return Ok(None) };
    let fault = |problem: String| config.fault("identity.aws", problem);
    if !tls {
        return Err(vec![fault("needs TLS: listen.certificate and listen.key".to_owned())]);
    }
    let read = InstanceDocuments::read(aws);
    read.map(Some).map_err(|problems| problems.into_iter().map(fault).collect())
}

/// Files with certificates that end, and when: what serves, what signs, and what AWS signs with.
fn certificates(config: &Config) -> Vec<(String, i64)> {
    let serving = config.listen.certificate.as_deref();
    let signing = config.identity.authority.as_ref().map(|(certificate, _)| certificate.as_path());
    let aws = config.identity.aws.iter();
    let regions: Vec<PathBuf> =
        aws.flat_map(|aws| aws.regions.iter().map(|region| aws.certificates.join(format!("{region}.pem")))).collect();
    let files = serving.into_iter().chain(signing).chain(regions.iter().map(PathBuf::as_path));
    files.filter_map(|file| Some((file.display().to_string(), identity::ends_of_file(file)?))).collect()
}

async fn maintain(
    store: Arc<dyn SampleStore>,
    callers: Arc<Callers>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> &'static str {
    let mut every = tokio::time::interval(MAINTAIN_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return "the store's upkeep",
            _ = every.tick() => {
                // What was measured waits for somebody who asks; nobody may.
                recorder().run_upkeep();
                if let Err(error) = store.maintain(clock.wall_micros()).await {
                    tracing::warn!(%error, "the store's upkeep failed; trying again in a minute");
                }
                let now = clock.wall_micros();
                for done in [callers.managed().maintain(now).await, callers.enrolments().maintain(now).await] {
                    if let Err(error) = done {
                        tracing::warn!(%error, "the upkeep of tokens and certificates failed; trying again in a minute");
                    }
                }
            }
        }
    }
}

/// One recorder a process: the demo and tests start more than one aggregator.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = telemetry::prometheus().build_recorder();
            let handle = recorder.handle();
            drop(metrics::set_global_recorder(recorder));
            telemetry::describe_metrics();
            handle
        })
        .clone()
}

fn store_options(config: &config::Store) -> store::Options {
    let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 3_600);
    store::Options {
        directory: config.directory.clone(),
        raw_retention: hours(config.raw_retention_hours),
        minute_retention: hours(config.minute_retention_days * 24),
    }
}

async fn sources(
    config: &config::Inventory,
    budgets: &Budgets,
    turns: Arc<dyn Turns>,
    clock: &Arc<dyn Clock>,
) -> Vec<Arc<dyn Fleet>> {
    let mut sources: Vec<Arc<dyn Fleet>> = Vec::new();
    if let Some(path) = &config.file {
        sources.push(Arc::new(FileFleet::new(PathBuf::from(path), clock.clone())));
    }
    if let Some(aws) = &config.aws {
        let (groups, region) = (aws.groups.clone(), aws.region.clone());
        sources.push(Arc::new(AwsFleet::new(groups, region, budgets, turns, clock.clone()).await));
    }
    let within = |seconds: u32| Duration::from_secs(u64::from(seconds));
    if let Some(command) = &config.command {
        let reach = match command.reach {
            config::CommandReach::None => Reach::None,
            config::CommandReach::Loopback => Reach::Loopback,
            config::CommandReach::Cloud => Reach::Cloud,
        };
        let (program, groups) = (command.program.clone(), command.groups.clone());
        let deadline = within(command.timeout_seconds);
        sources.push(fleet::command::source(program, groups, deadline, reach, clock.clone()));
    }
    if let Some(webhook) = &config.webhook {
        let (url, secret_file) = (webhook.url.clone(), webhook.secret_file.clone());
        let deadline = within(webhook.timeout_seconds);
        sources.push(fleet::webhook::source(url, secret_file, webhook.groups.clone(), deadline, clock.clone()));
    }
    sources
}

fn shadow_config(config: &Config) -> ShadowConfig {
    let groups = config.groups.iter();
    ShadowConfig {
        default_seconds: config.shadow.default_seconds,
        maximum_seconds: config.shadow.maximum_seconds,
        groups: groups.filter_map(|(group, policy)| Some((group.clone(), policy.shadow_seconds?))).collect(),
        instance_types: config.shadow.instance_types.clone(),
        prices_per_hour: config.shadow.prices_per_hour.clone(),
    }
}

/// The models that compete: those that need nothing but the history, and a network if one is configured.
///
/// # Errors
/// When the network cannot be served: the file, and what is wrong in it.
pub fn models(config: &Config) -> Result<forecast::Pool, Vec<Fault>> {
    let pool = forecast::Pool::default();
    let Some(path) = &config.forecast.network else { return Ok(pool) };
    let network = neural::Network::read(path);
    let network = network.map_err(|problem| vec![config.fault("forecast.network", problem.to_string())])?;
    let scores = crate::train::scores_in_words(network.manifest());
    tracing::info!(network = %path.display(), scores, "a network joins the models that compete");
    Ok(pool.with(Arc::new(network)))
}

fn rounds_options(config: &Config, pool: forecast::Pool, authenticated: bool) -> rounds::Options {
    let horizon_steps = config.forecast.horizon_hours * 3_600 / config.forecast.step_seconds;
    rounds::Options {
        forecast: forecast::Options {
            step_seconds: config.forecast.step_seconds,
            horizon_steps: usize::try_from(horizon_steps).unwrap_or(1),
            ..forecast::Options::default()
        },
        pool,
        raw_seconds: i64::from(config.store.raw_retention_hours) * 3_600,
        authenticated,
    }
}

/// The highest mode that the file allows, by group.
pub fn ceilings(config: &Config) -> BTreeMap<Id, Mode> {
    config.groups.iter().filter_map(|(group, read)| Some((group.clone(), read.mode?))).collect()
}

/// What the file says of every limit. `reach`: of each source of the inventory.
pub fn limits(config: &Config, reach: &BTreeMap<String, Reach>) -> FileLimits {
    let groups = config.groups.iter().map(|(group, read)| (group.clone(), policy(group, read)));
    let common = CommonLimits {
        drain_seconds: config.inventory.drain_seconds,
        warm_up_seconds: config.inventory.warm_up_seconds,
        shadow: shadow_config(config),
        safety: config.safety,
        reach: reach.clone(),
    };
    FileLimits { groups: groups.collect::<BTreeMap<Id, GroupPolicy>>(), common }
}

/// How long things may take.
pub fn patience(limits: &CommonLimits) -> Patience {
    Patience {
        warm_up: i64::from(limits.warm_up_seconds) * 1_000_000,
        drain: i64::from(limits.drain_seconds) * 1_000_000,
        silent: SILENT_MICROS,
    }
}

/// Gentler safety than the default is for clouds on this very machine.
///
/// # Errors
/// Each field that is gentler.
pub fn check_limits(config: &Config, reach: &BTreeMap<String, Reach>) -> Result<(), Vec<Fault>> {
    let loopback = reach.values().all(|reach| *reach != Reach::Cloud);
    let faults = config.safety.problems(loopback).into_iter().map(|problem| {
        let why = format!("{}: looser than it may be with a cloud that is not this machine", problem.problem);
        config.fault(&format!("safety.{}", problem.field), why)
    });
    let faults: Vec<Fault> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn policy(group: &Id, read: &config::Group) -> GroupPolicy {
    let mut configured = GroupPolicy {
        minimum: leash::Bound::of(read.minimum),
        maximum: leash::Bound::of(read.maximum),
        windows: read.window.values().cloned().collect(),
        history: read.history.iter().filter(|other| *other != group).cloned().collect(),
        ..GroupPolicy::new(group)
    };
    let policy = &mut configured.policy;
    let named = |values: &BTreeMap<String, f64>| {
        values.iter().filter_map(|(name, value)| Some((name.parse::<Metric>().ok()?, *value))).collect()
    };
    if !read.targets.is_empty() {
        policy.targets = named(&read.targets);
    }
    policy.reactive_targets = named(&read.reactive_targets);
    policy.veto_above = named(&read.veto_above);
    policy.change_cost = read.change_cost.unwrap_or(policy.change_cost);
    policy.confidence = read.confidence.unwrap_or(policy.confidence);
    policy.weights.clone_from(&read.weights);
    policy.bandwidth_bits.clone_from(&read.bandwidth_bits);
    policy.launch_lead_seconds = read.launch_lead_seconds.unwrap_or(policy.launch_lead_seconds);
    policy.reattach_lead_seconds = read.reattach_lead_seconds.unwrap_or(policy.reattach_lead_seconds);
    policy.late_cost_per_hour = read.late_cost_per_hour.unwrap_or(policy.late_cost_per_hour);
    policy.launches_per_hour = read.launches_per_hour.unwrap_or(policy.launches_per_hour);
    policy.spend_per_hour = read.spend_per_hour;
    policy.shadows_at_most = read.shadows_at_most;
    policy.silent_at_limit = read.silent_at_limit.unwrap_or_default();
    policy.adopt = read.adopt.unwrap_or_default();
    policy.shadow_by = read.shadow_by.unwrap_or_default();
    policy.hold_terminating = read.hold_terminating.unwrap_or_default();
    configured
}

#[cfg(test)]
mod tests {
    use planner::policy::{Adopt, AtLimit, ShadowBy};

    use super::*;

    /// Every limit of the file is one of the plan: what is left out on the way would never be missed.
    #[test]
    fn what_the_file_says_of_a_group_is_its_policy() {
        let text = "[group.web]\nminimum = 2\nmaximum = 40\nconfidence = 0.95\nlaunch_lead_seconds = 240\n\
            reattach_lead_seconds = 45\nlate_cost_per_hour = 7.0\nchange_cost = 3.0\nlaunches_per_hour = 9\n\
            spend_per_hour = 12.5\nshadows_at_most = 4\nsilent_at_limit = \"terminate\"\nadopt = \"all\"\n\
            shadow_by = \"standby\"\nhold_terminating = true\nhistory = [\"blue\"]\n\
            [group.web.targets]\ncpu = 55\nnetwork_in = 50\n[group.web.reactive_targets]\ncpu = 45\n\
            [group.web.weights]\n\"m5.xlarge\" = 2.0\n[group.web.bandwidth_bits]\n\"m5.xlarge\" = 750e6\n\
            [metric.errors]\nof = \"group\"\n[group.web.veto_above]\nerrors = 5\n\
            [group.web.window.day]\ndays = [\"mon\"]\nfrom = \"08:00\"\nto = \"18:00\"\ntime_zone = \"Europe/Berlin\"\nminimum = 6\n";
        let config = Config::parse("f.toml", text).expect("right");
        let web = Id::new("group", "web").expect("an id");
        let GroupPolicy { policy, minimum, maximum, windows, history } = policy(&web, &config.groups[&web]);
        assert_eq!((minimum, maximum), (leash::Bound::of(Some(2)), leash::Bound::of(Some(40))));
        assert_eq!((windows.len(), history), (1, vec![Id::new("group", "blue").expect("an id")]));
        let errors = Metric::declare("errors").expect("a name");
        assert_eq!(policy.targets, BTreeMap::from([(Metric::Cpu, 55.0), (Metric::NetworkIn, 50.0)]));
        assert_eq!(policy.reactive_targets, BTreeMap::from([(Metric::Cpu, 45.0)]));
        assert_eq!(policy.veto_above, BTreeMap::from([(errors, 5.0)]));
        assert_eq!((policy.confidence, policy.change_cost, policy.late_cost_per_hour), (0.95, 3.0, 7.0));
        assert_eq!((policy.launch_lead_seconds, policy.reattach_lead_seconds), (240, 45));
        assert_eq!((policy.launches_per_hour, policy.spend_per_hour, policy.shadows_at_most), (9, Some(12.5), Some(4)));
        assert_eq!((policy.silent_at_limit, policy.adopt), (AtLimit::Terminate, Adopt::All));
        assert_eq!((policy.shadow_by, policy.hold_terminating), (ShadowBy::Standby, true));
        assert_eq!(policy.weights.get("m5.xlarge"), Some(&2.0));
        assert_eq!(policy.bandwidth_bits.get("m5.xlarge"), Some(&750e6));
    }
}
