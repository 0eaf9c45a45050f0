//! Logs: text for people, JSON for machines; never a secret, never a body.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use foreshadow_proto::convert::RejectReason;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::rounds::invariants::Invariant;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging to standard error. `FORESHADOW_LOG` filters (`info` by default). Without
/// timestamps under journald, which brings its own.
pub fn start(format: LogFormat) {
    start_with(format, "info,sqlx=warn,hyper=warn,h2=warn,aws_config=warn,aws_smithy_runtime=warn");
}

/// Starts logging of what goes wrong only, for a program whose output is for people.
pub fn start_quiet() {
    start_with(LogFormat::Text, "warn");
}

fn start_with(format: LogFormat, usual: &str) {
    let filter = EnvFilter::try_from_env("FORESHADOW_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second subscriber in one process (tests) is not an error worth ending for.
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => builder.without_time().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    drop(started);
}

/// How metrics are kept for `GET /metrics`: what takes time as histograms with bounds of their own, s.
pub fn prometheus() -> PrometheusBuilder {
    const FIRST_ACKNOWLEDGED: [f64; 12] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
    let name = Matcher::Full("foreshadow_agent_first_acknowledged_seconds".to_owned());
    // Refused only where there are no bounds.
    PrometheusBuilder::new().set_buckets_for_metric(name, &FIRST_ACKNOWLEDGED).unwrap_or_default()
}

/// What `GET /metrics` says of each metric.
pub fn describe_metrics() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("foreshadow_samples_stored_total", "Samples made durable");
    counter!("foreshadow_samples_duplicate_total", "Samples that came again and were dropped");
    counter!("foreshadow_samples_rejected_total", "Samples that can never be stored, by reason");
    gauge!("foreshadow_stranded_shadows", "Instances under a lease that is over and that nobody holds: they cost");
    gauge!("foreshadow_shadows_overdue", "Shadows of ours whose lease is over in a group that may not end them");
    counter!("foreshadow_cloud_throttled_total", "Answers of the cloud that we ask too much");
    counter!("foreshadow_cloud_calls_delayed_total", "Calls to the cloud that waited by our own budget");
    gauge!("foreshadow_limits_held", "Limits that the configuration file would loosen and that wait to be accepted");
    gauge!("foreshadow_cloud_is_this_machine", "1 for a source whose cloud is taken for this machine: a test");
    gauge!("foreshadow_agent_streams", "Agents whose stream is open");
    histogram!(
        "foreshadow_agent_first_acknowledged_seconds",
        "From an agent's start to its first acknowledged sample, once for each start that was seen"
    );
    counter!(
        "foreshadow_batches_turned_away_total",
        "Batches that were told to come back: too much waited for the disk"
    );
    counter!("foreshadow_rollups_damaged_total", "Minutes that were damaged in the store: made anew or absent");
    counter!("foreshadow_samples_retracted_total", "Samples that came after they were retracted, and were not stored");
    counter!("foreshadow_remote_write_values_total", "Values that Prometheus wrote, by what became of them");
    counter!("foreshadow_prometheus_values_total", "Values that Prometheus was asked for, by what became of them");
    counter!("foreshadow_prometheus_asked_total", "How often Prometheus was asked for what it scrapes, by outcome");
    counter!("foreshadow_otlp_points_total", "Data points that came by OTLP, by what became of them");
    counter!("foreshadow_line_protocol_values_total", "Fields that clients of InfluxDB wrote, by what became of them");
    counter!("foreshadow_slow_agents_total", "Streams that ended because the agent did not read its answers");
    counter!(
        "foreshadow_influxdb_dropped_total",
        "Writes of which InfluxDB did not take points that are too old for it"
    );
    counter!("foreshadow_enrolments_total", "Instances that got their first certificate");
    counter!("foreshadow_enrolments_refused_total", "Requests for a certificate that were refused");
    counter!("foreshadow_certificates_issued_total", "Certificates issued, renewals included");
    counter!("foreshadow_second_claims_total", "Claims of an instance id that is another's, all of them refused");
    counter!("foreshadow_second_claims_with_token_total", "Those of them that came with a valid join token");
    counter!(
        "foreshadow_second_claims_with_document_total",
        "Those of them that came with an instance identity document that AWS signed"
    );
    counter!("foreshadow_forged_instance_ids_total", "Agents that spoke of another instance than their own, refused");
    counter!("foreshadow_notices_total", "Moves that were heard of, by way and whether they were known");
    counter!("foreshadow_letters_total", "Messages of the event queue, by what they were");
    gauge!("foreshadow_queue_read", "1 when the latest reading of the event queue succeeded");
    gauge!("foreshadow_claims_disagree", "Agents that claim for a minute another state than the inventory has");
    counter!("foreshadow_claims_disagreed_total", "Times an agent claimed that for a minute");
    gauge!("foreshadow_inventory_complete", "1 when the latest reading of the source was whole");
    counter!("foreshadow_rounds_total", "Plans made, all groups together");
    counter!("foreshadow_rounds_failed_total", "Rounds of a group that made no plan");
    counter!("foreshadow_invariant_violations_total", "Times something was that can never be: a fault of Foreshadow");
    gauge!("foreshadow_group_planned_timestamp_seconds", "When the latest plan was made: alarm when it stops moving");
    gauge!("foreshadow_group_serving", "Instances that serve");
    gauge!(
        "foreshadow_group_never_ready",
        "Instances that warm up for longer than anything takes, and are not counted on"
    );
    gauge!("foreshadow_group_need_now", "Instances that present demand needs");
    gauge!("foreshadow_group_need_ahead", "Instances that the forecast needs within the launch lead");
    // Of a group, what is not known (any more) is NaN: rounds::gauges.
    gauge!("foreshadow_group_reporting", "Serving instances whose samples are fresh");
    gauge!("foreshadow_group_instances", "Instances by mode");
    gauge!("foreshadow_group_minimum", "Fewest instances the group may have");
    gauge!("foreshadow_group_maximum", "Most instances the group may have");
    gauge!("foreshadow_group_mode", "1 for the mode the group is in, 0 for the others");
    gauge!("foreshadow_group_hold", "1 for each hold that stands");
    gauge!("foreshadow_lead_seconds", "Lead that is looked ahead by, measured once there are three");
    gauge!(
        "foreshadow_demand_points",
        "Present demand net of the idle baseline, points of the reference instance, or a declared metric in its unit"
    );
    gauge!("foreshadow_idle_baseline_points", "Idle baseline in use, points");
    gauge!(
        "foreshadow_forecast_demand_points",
        "Forecast demand by level of the quantile, of the step that ends at the horizon"
    );
    gauge!("foreshadow_forecast_trust", "How far the plan follows the forecast, 0 to 1");
    gauge!("foreshadow_forecast_trained_timestamp_seconds", "The end of the history the forecast was made on");
    gauge!("foreshadow_forecast_coverage_promised_ratio", "How often the 10 to 90 % interval should hold");
    gauge!("foreshadow_forecast_coverage_measured_ratio", "How often it did");
    gauge!("foreshadow_forecast_wide_coverage_promised_ratio", "How often the 5 to 95 % interval should hold");
    gauge!("foreshadow_forecast_wide_coverage_measured_ratio", "How often that one did");
    gauge!("foreshadow_config_reload_successful", "1 when the latest reading of the configuration file was taken");
    gauge!(
        "foreshadow_config_last_reload_success_timestamp_seconds",
        "When the configuration file was taken last: at the start, or on SIGHUP"
    );
    gauge!("foreshadow_build_info", "1, with the version");
    metrics::gauge!("foreshadow_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    counter!("foreshadow_shadow_sessions_changed_total", "Shadow sessions opened, or their lease changed");
    counter!("foreshadow_shadows_released_total", "Shadows of ours left running because not all agreed to end them");
    counter!("foreshadow_intents_settled_total", "Changes to the cloud that came to an end, by action and outcome");
    counter!("foreshadow_clock_jumps_total", "Jumps of the wall clock by more than a minute");
    counter!("foreshadow_step_panics_total", "Steps of the journal that panicked: what became of them is found out");
    counter!("foreshadow_influxdb_failures_total", "Times InfluxDB did not take samples");
    counter!("foreshadow_notifications_total", "Alarms told, by whom to and what became of it");
    counter!(
        "foreshadow_trace_spans_total",
        "Spans of decisions: sent, dropped while the collector was away, or refused by it"
    );
    gauge!("foreshadow_influxdb_lag_ticks", "Commits that InfluxDB lacks");
    begin_at_zero();
}

/// An alarm for the first time needs a counter at zero before it, and a dashboard shows none as zero, not as nothing. Of groups:
/// `rounds::gauges`; of InfluxDB: where there is one.
fn begin_at_zero() {
    const COUNTERS: [&str; 19] = [
        "foreshadow_batches_turned_away_total",
        "foreshadow_certificates_issued_total",
        "foreshadow_claims_disagreed_total",
        "foreshadow_clock_jumps_total",
        "foreshadow_cloud_calls_delayed_total",
        "foreshadow_cloud_throttled_total",
        "foreshadow_enrolments_refused_total",
        "foreshadow_enrolments_total",
        "foreshadow_forged_instance_ids_total",
        "foreshadow_rollups_damaged_total",
        "foreshadow_rounds_failed_total",
        "foreshadow_samples_duplicate_total",
        "foreshadow_samples_retracted_total",
        "foreshadow_second_claims_total",
        "foreshadow_second_claims_with_document_total",
        "foreshadow_second_claims_with_token_total",
        "foreshadow_shadow_sessions_changed_total",
        "foreshadow_slow_agents_total",
        "foreshadow_step_panics_total",
    ];
    for counter in COUNTERS {
        metrics::counter!(counter).increment(0);
    }
    for reason in RejectReason::ALL {
        metrics::counter!("foreshadow_samples_rejected_total", "reason" => reason.as_str()).increment(0);
    }
    for invariant in Invariant::ALL {
        metrics::counter!("foreshadow_invariant_violations_total", "invariant" => invariant.word()).increment(0);
    }
}
