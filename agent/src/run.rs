//! The agent's one loop, on one thread: sample, probe, speak, and drain when told to stop.

use std::error::Error as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::v1;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Code;

use crate::clock::{Clock, HostClock, random};
use crate::identity::{self, Credentials, CredentialsError, Metadata};
use crate::options::{Options, Source};
use crate::output;
use crate::probe::Probe;
use crate::reader::Fault;
use crate::reload::{self, Taken};
use crate::sample::{Reading, Sampler, host_sampler, rates};
use crate::spool::{CAPACITY, Spool};
use crate::stream::{Effect, Endpoint, Event, Hello, LinkError, Open, Session, pushback};

/// First and longest wait before the next try to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A stream that lasted this long forgives the failures before it.
const STABLE: Duration = Duration::from_secs(60);
/// What waits is sent this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// A sample takes what waits with it from this long after the last time on: the host is woken once for both.
const FLUSH_WITH_SAMPLE: Duration = Duration::from_millis(800);
/// How long a flush waits beyond its time for the sample that is due with it.
const FLUSH_WAITS: Duration = Duration::from_millis(50);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// One acknowledgement is for all that was sent within this time; later than that the spool writes to the disk what has none.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(3);
/// How long the last acknowledgements are waited for at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Waits before the metadata service is asked: at once, and up to a quarter of an hour.
const METADATA_AGAIN: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(240),
    Duration::from_secs(600),
];
/// The metadata service may name the instance within this time; then the host's name is taken.
const IDENTITY_DEADLINE: Duration = Duration::from_secs(3);
/// The same before the first certificate, which binds an id to a key for good: the third question is waited for.
const ENROL_DEADLINE: Duration = Duration::from_secs(15);

/// Prints one sample as JSON: what this agent would send.
pub fn once() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return ExitCode::FAILURE;
    };
    let Some(sampler) = sampler() else { return ExitCode::FAILURE };
    let mut sampling = Sampling::new(sampler, HostClock);
    runtime.block_on(async {
        // The first reading only starts the interval.
        sampling.next();
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let Some(sample) = sampling.next() else { return ExitCode::FAILURE };
    let network = sample.network.map(|rates| {
        serde_json::json!({
            "in_bytes": rates.in_bytes, "out_bytes": rates.out_bytes, "in_packets": rates.in_packets,
            "out_packets": rates.out_packets, "errors": rates.errors,
        })
    });
    let shown = serde_json::json!({
        "instance": identity::host_id(),
        "at_micros": sample.wall_micros,
        "covers_millis": sample.covers_millis,
        "cpu_percent": sample.cpu_percent,
        "cpu_busiest_percent": sample.cpu_busiest_percent,
        "cpu_steal_percent": sample.cpu_steal_percent,
        "memory_used_bytes": sample.memory_used_bytes,
        "memory_total_bytes": sample.memory_total_bytes,
        "network": network,
    });
    output::print(format_args!("{shown:#}\n"));
    ExitCode::SUCCESS
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub fn block_on(source: Source, options: Options) -> ExitCode {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        // As a task like any other: what wakes the future of `block_on` goes through the kernel, although it is the same thread.
        Ok(runtime) => {
            runtime.block_on(async { tokio::spawn(run(source, options, started)).await }).unwrap_or_else(|error| {
                tracing::error!(%error, "the agent's loop ended");
                ExitCode::FAILURE
            })
        }
        Err(error) => {
            tracing::error!(%error, "no runtime");
            ExitCode::FAILURE
        }
    }
}

fn sampler() -> Option<Box<dyn Sampler>> {
    host_sampler().map_err(|error| tracing::error!(%error, "this host cannot be sampled")).ok()
}

/// Turns readings into samples.
#[derive(Debug)]
struct Sampling<C> {
    sampler: Box<dyn Sampler>,
    clock: C,
    previous: Option<(Reading, u64)>,
}

impl<C: Clock> Sampling<C> {
    fn new(sampler: Box<dyn Sampler>, clock: C) -> Self {
        Self { sampler, clock, previous: None }
    }

    /// The sample since the previous call; `None` the first time, when there is no interval yet.
    fn next(&mut self) -> Option<v1::Sample> {
        let reading = self.sampler.read();
        let boot = self.clock.boot_micros();
        let (before, began) = self.previous.replace((reading.clone(), boot))?;
        let elapsed = boot.checked_sub(began).filter(|elapsed| *elapsed > 0)?;
        let rates = rates(&before, &reading, elapsed);
        Some(v1::Sample {
            sequence: 0,
            wall_micros: self.clock.wall_micros(),
            monotonic_micros: boot,
            // A host that slept for hours still says only that: one long interval.
            covers_millis: u32::try_from(elapsed.div_ceil(1_000)).unwrap_or(u32::MAX).min(3_600_000),
            cpu_percent: rates.cpu_percent,
            cpu_busiest_percent: rates.cpu_busiest_percent,
            cpu_steal_percent: rates.cpu_steal_percent,
            memory_used_bytes: reading.memory_used_bytes,
            memory_total_bytes: reading.memory_total_bytes,
            network: rates.network,
        })
    }
}

async fn run(source: Source, mut options: Options, started: Instant) -> ExitCode {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals else {
        tracing::error!("signals cannot be followed");
        return ExitCode::FAILURE;
    };
    let (found, mut metadata) = mpsc::channel(1);
    let (state, mut target_state) = mpsc::channel(1);
    tokio::spawn(async move {
        // A network that comes up late, or a service that is busy: asked again for a while.
        for wait in METADATA_AGAIN {
            tokio::time::sleep(wait).await;
            if let Some(metadata) = identity::metadata().await {
                drop(found.send(metadata).await);
                // Only where there is a metadata service.
                return identity::watch_target_state(state).await;
            }
        }
    });
    let mut facts = identity::host_facts();
    let enrols = options.identity.as_ref().is_some_and(|(directory, _)| Credentials::owner(directory).is_none());
    let deadline = if enrols { ENROL_DEADLINE } else { IDENTITY_DEADLINE };
    let mut instance_id = match &options.instance_id {
        Some(id) => id.clone(),
        None => {
            tracing::info!(
                "asking the metadata service for this instance's id, up to {} s; instance_id skips it",
                deadline.as_secs()
            );
            match tokio::time::timeout(deadline, metadata.recv()).await {
                Ok(Some(cloud)) => {
                    take_metadata(&mut facts, &cloud);
                    cloud.instance_id
                }
                _ => identity::host_id(),
            }
        }
    };
    tracing::info!(instance_id, aggregator = %options.endpoint.uri, probe = %options.probe, "agent starts");
    let (mut endpoint, mut renewal) = match proven(&options, &instance_id) {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(%error, "this instance can have no certificate");
            return ExitCode::FAILURE;
        }
    };
    let hello = Hello {
        instance_id: instance_id.clone(),
        claimed_group: options.group.clone().unwrap_or_default(),
        facts: facts.clone(),
    };
    let spool = match &options.spool {
        Some(directory) => Spool::open(random(), identity::boot_id(), directory, options.spool_limits),
        None => Spool::in_memory(random(), identity::boot_id(), CAPACITY),
    };
    let mut session = Session::new(hello, spool).together(options.batch).acknowledged_within(ACKNOWLEDGED_WITHIN);
    let (probed, mut readiness) = mpsc::channel(4);
    let (probing, look) = watch::channel((options.probe.clone(), options.probe_grace_seconds));
    tokio::spawn(watch_readiness(look, probed));
    notify(&[sd_notify::NotifyState::Ready]);

    let Some(sampler) = sampler() else { return ExitCode::FAILURE };
    let mut sampling = Sampling::new(sampler, HostClock);
    let mut ticks = ticker(Duration::from_millis(u64::from(options.interval_millis)));
    let mut interval = options.interval_millis;
    // The aggregator said how often; the configuration's own word is over.
    let mut commanded = false;
    let mut flush = Flush::default();
    let mut link: Option<Open> = None;
    let mut back_off = BackOff::default();
    let mut connecting = Box::pin(connect(endpoint.clone(), Duration::ZERO));
    // A stream by a new configuration is being opened beside the one that is there.
    let mut moving = false;
    let mut metadata_open = true;
    let mut directed = v1::Directive::default();
    loop {
        let event = tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                notify_reloading();
                let read = reload::read(&source, &options).and_then(|(next, taken)| {
                    // What may fail, before anything has changed.
                    let made = taken.connects.then(|| proven(&next, &instance_id)).transpose();
                    let made = made.map_err(|error| vec![reload::fault("identity", error.to_string())])?;
                    Ok((next, taken, made))
                });
                let status = match read {
                    Ok((next, taken, made)) => {
                        report(&taken);
                        if let Some(made) = made {
                            (endpoint, renewal) = made;
                            session.on(Event::Claimed(next.group.clone().unwrap_or_default()));
                            // What is there goes on until the new one is open: a wrong address costs no sample.
                            moving = link.is_some();
                            back_off = BackOff::default();
                            connecting = Box::pin(connect(endpoint.clone(), Duration::ZERO));
                        }
                        session.set_together(next.batch);
                        probing.send_if_modified(|held| {
                            let new = (next.probe.clone(), next.probe_grace_seconds);
                            let other = *held != new;
                            *held = new;
                            other
                        });
                        if commanded && next.interval_millis != options.interval_millis {
                            tracing::info!(millis = interval, "interval_seconds waits: the aggregator says how often");
                        } else if !commanded && next.interval_millis != interval {
                            interval = next.interval_millis;
                            ticks = ticker(Duration::from_millis(u64::from(interval)));
                        }
                        options = next;
                        String::new()
                    }
                    Err(faults) => refuse(&faults),
                };
                notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);
                continue;
            }
            _ = ticks.tick() => match sampling.next() {
                Some(sample) => Event::Sampled(sample),
                None => continue,
            },
            incoming = incoming(&mut link), if link.is_some() => match incoming {
                Ok(message) => Event::Message(message),
                Err((why, pushback)) => {
                    tracing::warn!(why, unacknowledged = session.unacknowledged(), "the stream ended; connecting anew");
                    link = None;
                    connecting = Box::pin(connect(endpoint.clone(), back_off.next_after(pushback)));
                    Event::Disconnected
                }
            },
            opened = &mut connecting, if link.is_none() || moving => match opened {
                Ok(open) => {
                    tracing::info!(transport = open.transport.as_str(), "connected");
                    back_off.connected();
                    if std::mem::take(&mut moving) {
                        session.on(Event::Disconnected);
                    }
                    link = Some(open);
                    Event::Connected
                }
                Err(error) => {
                    let wait = back_off.next_after(error.pushback());
                    let again = wait.as_millis();
                    let (error, what) = (whole(&error), trouble(&error, options.endpoint.uri.scheme_str()));
                    tracing::warn!(error, again_in_ms = again, "{what}");
                    connecting = Box::pin(connect(endpoint.clone(), wait));
                    continue;
                }
            },
            Some(found) = readiness.recv() => Event::Readiness(found),
            found = metadata.recv(), if metadata_open => match found {
                Some(cloud) => {
                    take_metadata(&mut facts, &cloud);
                    if options.instance_id.is_none() && cloud.instance_id != instance_id {
                        session.on(Event::Facts(facts.clone()));
                        tracing::info!(was = instance_id, is = cloud.instance_id, "the cloud names this instance late");
                        instance_id.clone_from(&cloud.instance_id);
                        session.on(Event::Identified(cloud.instance_id));
                        match proven(&options, &instance_id) {
                            Ok(made) => (endpoint, renewal) = made,
                            Err(error) => {
                                tracing::error!(%error, "this instance can have no certificate");
                                break;
                            }
                        }
                        // A stream has one name: the next one says the new name.
                        link = None;
                        connecting = Box::pin(connect(endpoint.clone(), Duration::ZERO));
                        Event::Disconnected
                    } else {
                        Event::Facts(facts.clone())
                    }
                }
                None => {
                    metadata_open = false;
                    continue;
                }
            },
            Some(state) = target_state.recv() => {
                tracing::info!(state, "the state Auto Scaling wants this instance in");
                facts.target_lifecycle_state = state;
                Event::Facts(facts.clone())
            }
            () = flush.due() => Event::Flush,
        };
        let with_sample = matches!(event, Event::Sampled(_)) && flush.is_near();
        let flushes = with_sample || matches!(event, Event::Flush);
        let mut effects = session.on(event);
        if flushes {
            flush.done();
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
        if with_sample {
            effects.extend(session.on(Event::Flush));
        }
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let sent = link.as_ref().is_some_and(|open| open.outgoing.try_send(*message).is_ok());
                    if !sent && link.is_some() {
                        // The wire is full or gone: what was lost here goes again after a reconnect.
                        link = None;
                        connecting = Box::pin(connect(endpoint.clone(), back_off.next()));
                        session.on(Event::Disconnected);
                        break;
                    }
                }
                Effect::Interval(millis) => {
                    commanded = true;
                    if millis != interval {
                        tracing::info!(millis, "sampling interval changed");
                        interval = millis;
                        ticks = ticker(Duration::from_millis(u64::from(millis)));
                    }
                }
                Effect::Directed(directive) => {
                    if let Some(said) = in_words(&directed, &directive, HostClock.wall_micros()) {
                        tracing::info!("{said}");
                    }
                    directed = directive;
                }
                Effect::FirstAcknowledged => {
                    let after_ms = started.elapsed().as_millis();
                    tracing::info!(after_ms, "first sample acknowledged");
                    // Zero would be unknown.
                    facts.first_acknowledged_millis = u32::try_from(after_ms).unwrap_or(u32::MAX).max(1);
                    // What does not fit the wire now, the next Hello says.
                    for effect in session.on(Event::Facts(facts.clone())) {
                        if let (Effect::Send(message), Some(open)) = (effect, &link) {
                            drop(open.outgoing.try_send(*message));
                        }
                    }
                }
                Effect::Rejected(count) => tracing::warn!(count, "samples were rejected for good"),
            }
        }
    }
    drop(renewal);
    notify(&[sd_notify::NotifyState::Stopping]);
    drain(session, link).await;
    ExitCode::SUCCESS
}

/// What the aggregator says of this instance, where it is something and not what it said before.
fn in_words(before: &v1::Directive, now: &v1::Directive, wall_micros: i64) -> Option<String> {
    let same = before.mode == now.mode && before.shadow_until_micros == now.shadow_until_micros;
    let mode = match now.mode() {
        // It does not know yet.
        v1::Mode::Unspecified => return None,
        v1::Mode::Warming => "warms up",
        v1::Mode::Serving => "serves",
        v1::Mode::Draining => "drains",
        v1::Mode::Shadow => "stands in shadow",
        v1::Mode::Gone => "is gone from its group",
    };
    let left = (now.shadow_until_micros - wall_micros) / 1_000_000;
    let lease =
        if now.shadow_until_micros > 0 { format!(", its lease ends in {} s", left.max(0)) } else { String::new() };
    let why = if now.reason.is_empty() { String::new() } else { format!(": {}", now.reason) };
    (!same).then(|| format!("the aggregator says that this instance {mode}{lease}{why}"))
}

/// The endpoint with the instance's own credentials, where it has any, and what renews them.
fn proven(options: &Options, instance: &str) -> Result<(Endpoint, Option<Renewal>), CredentialsError> {
    let mut endpoint = options.endpoint.clone();
    let Some((directory, join_token_file)) = &options.identity else { return Ok((endpoint, None)) };
    let credentials = Arc::new(Credentials::open(directory, instance, join_token_file.clone())?);
    endpoint.credentials = Some(credentials.clone());
    let asked = endpoint.clone();
    let renewal = Renewal(tokio::spawn(async move { credentials.renew(&asked).await }));
    Ok((endpoint, Some(renewal)))
}

/// Ends with the credentials it renews.
struct Renewal(tokio::task::JoinHandle<()>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends what is left, waits a little for its acknowledgement, and says goodbye.
async fn drain(mut session: Session, mut link: Option<Open>) {
    let deadline = Instant::now() + DRAIN;
    let mut effects = session.on(Event::Ending);
    while let Some(open) = &mut link {
        for effect in effects.drain(..) {
            if let Effect::Send(message) = effect {
                drop(tokio::time::timeout_at(deadline, open.outgoing.send(*message)).await);
            }
        }
        if session.unacknowledged() == 0 {
            break;
        }
        match tokio::time::timeout_at(deadline, open.incoming.message()).await {
            Ok(Ok(Some(message))) => effects = session.on(Event::Message(message)),
            _ => break,
        }
    }
    let left = session.unacknowledged();
    if let Some(mut open) = link {
        for effect in session.on(Event::Shutdown("told to stop".to_owned())) {
            if let Effect::Send(message) = effect {
                drop(tokio::time::timeout_at(deadline, open.outgoing.send(*message)).await);
            }
        }
        // Closing our half lets the goodbye reach the wire; the other side closes in answer.
        drop(open.outgoing);
        while let Ok(Ok(Some(_))) = tokio::time::timeout_at(deadline, open.incoming.message()).await {}
    }
    session.close();
    tracing::info!(unacknowledged = left, dropped = session.dropped(), "agent ends");
}

/// The next message, or why there is none, and how long the aggregator wants to be left alone.
async fn incoming(link: &mut Option<Open>) -> Result<v1::AggregatorMessage, (String, Duration)> {
    match link {
        Some(open) => match open.incoming.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(("closed by the aggregator".to_owned(), Duration::ZERO)),
            Err(status) => Err((status.message().to_owned(), pushback(&status))),
        },
        None => std::future::pending().await,
    }
}

async fn connect(endpoint: Endpoint, after: Duration) -> Result<Open, LinkError> {
    tokio::time::sleep(after).await;
    endpoint.open().await
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval_at(Instant::now() + every, every);
    // After a stall one reading covers it all; a burst of tiny ones would say nothing.
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// When what waits is sent: with the sample of that second, or by itself.
#[derive(Debug)]
struct Flush {
    last: Instant,
}

impl Default for Flush {
    fn default() -> Self {
        Self { last: Instant::now() }
    }
}

impl Flush {
    /// Whether a sample that is there now takes it along.
    fn is_near(&self) -> bool {
        self.last.elapsed() >= FLUSH_WITH_SAMPLE
    }

    /// Returns when it is time, and no sample came.
    async fn due(&self) {
        tokio::time::sleep_until(self.last + FLUSH_EVERY + FLUSH_WAITS).await;
    }

    fn done(&mut self) {
        self.last = Instant::now();
    }
}

/// Waits that double, with jitter, so that a fleet does not come back as one.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
    connected_at: Option<Instant>,
}

impl BackOff {
    fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
    }

    /// Not before the aggregator wants it, and not all at that moment.
    fn next_after(&mut self, pushback: Duration) -> Duration {
        let dice = u16::from_le_bytes(random());
        self.next().max(pushback.mul_f64(1.0 + 0.5 * f64::from(dice) / f64::from(u16::MAX)))
    }

    fn next(&mut self) -> Duration {
        if self.connected_at.take().is_some_and(|at| at.elapsed() >= STABLE) {
            self.failures = 0;
        }
        let ceiling = BACK_OFF.1.min(BACK_OFF.0 * 2_u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        let dice = u16::from_le_bytes(random());
        ceiling.mul_f64(0.5 + 0.5 * f64::from(dice) / f64::from(u16::MAX))
    }
}

/// Looks every few seconds and tells of changes; a green probe that fails is forgiven for a while, another that takes its place
/// as well.
async fn watch_readiness(mut look: watch::Receiver<(Probe, u32)>, tell: mpsc::Sender<v1::Readiness>) {
    let mut told: Option<bool> = None;
    let mut failing_since: Option<Instant> = None;
    let mut every = ticker(PROBE_EVERY);
    let mut renewed = false;
    let clock = HostClock;
    loop {
        let (probe, grace_seconds) = look.borrow_and_update().clone();
        let (ready, detail) = probe.look().await;
        failing_since = if ready { None } else { Some(failing_since.unwrap_or_else(Instant::now)) };
        let grace = Duration::from_secs(u64::from(grace_seconds));
        let forgiven = told == Some(true) && failing_since.is_some_and(|since| since.elapsed() < grace);
        // What another probe found is told even where it is the same: in its words.
        if (renewed || told != Some(ready)) && !forgiven {
            (told, renewed) = (Some(ready), false);
            let readiness = v1::Readiness { ready, wall_micros: clock.wall_micros(), detail };
            if tell.send(readiness).await.is_err() {
                return;
            }
        }
        tokio::select! {
            // Nothing changes by itself where there is no probe.
            _ = every.tick(), if probe != Probe::None => {}
            changed = look.changed() => {
                if changed.is_err() {
                    return;
                }
                (failing_since, renewed) = (None, true);
            }
        }
    }
}

fn take_metadata(facts: &mut v1::Facts, cloud: &Metadata) {
    facts.instance_type.clone_from(&cloud.instance_type);
    facts.zone.clone_from(&cloud.zone);
    facts.image_id.clone_from(&cloud.image_id);
    facts.region.clone_from(&cloud.region);
}

/// What a reload changed, in the log.
fn report(taken: &Taken) {
    if taken.changed.is_empty() {
        tracing::info!("the configuration was read again; nothing that holds without a restart changed");
    } else {
        tracing::info!(fields = taken.changed.join(", "), "the configuration was read again; it holds from now on");
    }
    if !taken.waiting.is_empty() {
        tracing::warn!(fields = taken.waiting.join(", "), "changed in the file, and needs a restart to hold");
    }
}

/// What is wrong with a configuration, in the log and in a line for `systemctl status`.
fn refuse(faults: &[Fault]) -> String {
    for fault in faults {
        tracing::error!("{fault}");
    }
    tracing::error!(faults = faults.len(), "the configuration was not taken: what held before still does");
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    // A line of the protocol is a line.
    format!("the configuration was not taken, what held before still does: {}", first.replace(['\n', '\r'], " "))
}

/// That a reload has begun; `READY=1` ends it.
fn notify_reloading() {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// Tells systemd, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    drop(sd_notify::notify(state));
}

/// What there is to do about a connection that is none, in a line: each is another person's to mend.
fn trouble(error: &LinkError, scheme: Option<&str>) -> &'static str {
    match error {
        LinkError::File { .. } | LinkError::Token | LinkError::Credentials(_) => {
            return "this agent has nothing to show to the aggregator";
        }
        // What the aggregator says itself; what a broken connection looks like to gRPC has a cause.
        LinkError::Refused(status) | LinkError::NotEnrolled(status) if status.source().is_none() => {
            return match status.code() {
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
                    "the aggregator cannot take this agent now"
                }
                _ => "the aggregator refuses this agent",
            };
        }
        _ => {}
    }
    let said = whole(error);
    // Nobody took the connection: then nothing is known of what is spoken there.
    let never = ["tcp connect error", "dns error", "timed out", "elapsed"];
    if said.contains("InvalidContentType") {
        "no TLS with the aggregator: what listens there does not speak it, is it http://?"
    } else if ["certificate", "TLS", "fatal alert"].iter().any(|word| said.contains(word)) {
        "no TLS with the aggregator"
    } else if scheme == Some("http") && !never.iter().any(|word| said.contains(word)) {
        "the aggregator cannot be reached in plain text: does it speak https?"
    } else {
        "the aggregator cannot be reached"
    }
}

/// An error with its causes on one line, each once: some say their cause themselves.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_no_connection_and_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(whole(&Outer(std::io::Error::other("inner"))), "outer: inner");
        let refused = |status: tonic::Status| trouble(&LinkError::Refused(status), Some("https"));
        assert_eq!(
            refused(tonic::Status::unauthenticated("a bearer token is needed")),
            "the aggregator refuses this agent"
        );
        assert_eq!(refused(tonic::Status::unavailable("full")), "the aggregator cannot take this agent now");
        let broken =
            || LinkError::Refused(tonic::Status::from_error(Box::new(std::io::Error::other("connection reset"))));
        assert_eq!(trouble(&broken(), Some("https")), "the aggregator cannot be reached");
        assert!(trouble(&broken(), Some("http")).contains("does it speak https"));
    }

    #[test]
    fn what_the_aggregator_says_of_this_instance_is_told_in_words_when_it_changes() {
        let nothing = v1::Directive { interval_millis: 1_000, ..Default::default() };
        assert_eq!(in_words(&v1::Directive::default(), &nothing, 0), None);
        let serving = v1::Directive { mode: v1::Mode::Serving.into(), ..nothing.clone() };
        let said = in_words(&nothing, &serving, 0);
        assert_eq!(said.as_deref(), Some("the aggregator says that this instance serves"));
        assert_eq!(in_words(&serving, &v1::Directive { interval_millis: 5_000, ..serving.clone() }, 0), None);
        let shadow = v1::Directive {
            mode: v1::Mode::Shadow.into(),
            shadow_until_micros: 90_000_000,
            reason: "not needed".to_owned(),
            ..nothing
        };
        let said = in_words(&serving, &shadow, 30_000_000).expect("something");
        assert!(said.ends_with("stands in shadow, its lease ends in 60 s: not needed"), "{said}");
    }

    #[tokio::test]
    async fn a_sample_takes_what_waits_with_it_and_where_none_comes_it_goes_alone() {
        let ago = |millis| Flush { last: Instant::now() - Duration::from_millis(millis) };
        assert!(!ago(500).is_near(), "two in a second would count as two seconds");
        assert!(ago(990).is_near());
        let at_once = async |flush: Flush| tokio::time::timeout(Duration::ZERO, flush.due()).await.is_ok();
        assert!(!at_once(ago(900)).await, "the sample of this second may still come");
        assert!(at_once(ago(1_100)).await);
        let mut flush = ago(1_100);
        flush.done();
        assert!(!flush.is_near() && !at_once(flush).await);
    }

    #[tokio::test]
    async fn another_probe_is_looked_at_at_once_and_forgiven_as_the_one_before_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (probing, look) = watch::channel((Probe::None, 0));
        let (tell, mut told) = mpsc::channel(4);
        let watching = tokio::spawn(watch_readiness(look, tell));
        let mut found = async || {
            let soon = tokio::time::timeout(Duration::from_millis(500), told.recv()).await;
            soon.ok().flatten().map(|found| (found.ready, found.detail))
        };
        assert_eq!(found().await, Some((true, "no probe".to_owned())));
        let (there, not) = (Probe::File(directory.path().into()), Probe::File(directory.path().join("not")));
        probing.send_replace((there.clone(), 30));
        assert_eq!(found().await, Some((true, format!("{there}: is there"))), "in the words of the new one");
        probing.send_replace((not.clone(), 3_600));
        assert_eq!(found().await, None, "what was green is forgiven");
        probing.send_replace((not, 0));
        assert_eq!(found().await.map(|(ready, _)| ready), Some(false));
        drop(probing);
        watching.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_full_aggregator_is_left_alone_for_as_long_as_it_says() {
        let mut status = tonic::Status::resource_exhausted("full");
        assert_eq!(pushback(&status), Duration::ZERO);
        for (told, most) in [("15000", 15), ("99999999999", 300), ("soon", 0), ("-1", 0)] {
            status.metadata_mut().insert("grpc-retry-pushback-ms", told.parse().expect("a value"));
            assert_eq!(pushback(&status), Duration::from_secs(most), "{told}");
        }
        let waits: Vec<Duration> = (0..50).map(|_| BackOff::default().next_after(Duration::from_secs(15))).collect();
        assert!(waits.iter().all(|wait| (15.0..=22.5).contains(&wait.as_secs_f64())), "{waits:?}");
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]), "not all at one moment");
        let first = BackOff::default().next_after(Duration::ZERO);
        assert!(first <= BACK_OFF.0, "{first:?}");
    }
}
