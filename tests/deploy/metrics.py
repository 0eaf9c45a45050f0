"""A history of every metric that rules and dashboards ask for, as no test can live through it: a day, made up."""

import re
import time

from product import REPOSITORY

GROUPS = [{"group": "web"}, {"group": "batch"}]


def of_groups(**more):
    return [group | more for group in GROUPS]


def each(name, *values, base=GROUPS):
    return [labels | {name: value} for labels in base for value in values]


CPU = of_groups(metric="cpu")
# Names without the _total of counters are those of gauges.
LABELS = {
    "up": [{}],
    "foreshadow_build_info": [{"version": "0.1.0"}],
    "foreshadow_rounds_total": [{}],
    "foreshadow_rounds_failed_total": [{}],
    "foreshadow_invariant_violations_total": [{"invariant": "quantiles_ascend"}, {"invariant": "one_change_at_a_time"}],
    "foreshadow_samples_stored_total": [{}],
    "foreshadow_samples_duplicate_total": [{}],
    "foreshadow_samples_rejected_total": [{"reason": "future"}, {"reason": "malformed"}],
    "foreshadow_batches_turned_away_total": [{}],
    "foreshadow_slow_agents_total": [{}],
    "foreshadow_agent_streams": [{}],
    "foreshadow_enrolments_total": [{}],
    "foreshadow_enrolments_refused_total": [{}],
    "foreshadow_certificates_issued_total": [{}],
    "foreshadow_influxdb_dropped_total": [{}],
    "foreshadow_samples_retracted_total": [{}],
    "foreshadow_second_claims_total": [{}],
    "foreshadow_second_claims_with_token_total": [{}],
    "foreshadow_second_claims_with_document_total": [{}],
    "foreshadow_forged_instance_ids_total": [{}],
    "foreshadow_notices_total": [{"by": "event", "outcome": "new"}],
    "foreshadow_letters_total": [{"was": "moves"}],
    "foreshadow_queue_read": [{}],
    "foreshadow_claims_disagree": [{}],
    "foreshadow_claims_disagreed_total": [{}],
    "foreshadow_inventory_complete": [{"source": "aws"}],
    "foreshadow_intents_settled_total": [
        {"action": action, "outcome": outcome} for action in ("launch", "detach") for outcome in ("done", "refused")
    ],
    "foreshadow_shadow_sessions_changed_total": [{}],
    "foreshadow_shadows_released_total": GROUPS,
    "foreshadow_clock_jumps_total": [{}],
    "foreshadow_influxdb_failures_total": [{}],
    "foreshadow_influxdb_lag_ticks": [{}],
    "foreshadow_group_planned_timestamp_seconds": GROUPS,
    "foreshadow_group_serving": GROUPS,
    "foreshadow_group_need_now": GROUPS,
    "foreshadow_group_need_ahead": GROUPS,
    "foreshadow_group_reporting": GROUPS,
    "foreshadow_group_minimum": GROUPS,
    "foreshadow_group_maximum": GROUPS,
    "foreshadow_group_instances": each("mode", "warming", "serving", "draining", "shadow"),
    "foreshadow_group_mode": each("mode", "observe", "scale-out", "full"),
    "foreshadow_group_hold": each("hold", "Paused", "WarmUp"),
    "foreshadow_lead_seconds": each("change", "launch", "reattach"),
    "foreshadow_demand_points": CPU,
    "foreshadow_idle_baseline_points": CPU,
    "foreshadow_forecast_trust": CPU,
    "foreshadow_forecast_trained_timestamp_seconds": CPU,
    "foreshadow_forecast_coverage_promised_ratio": CPU,
    "foreshadow_forecast_coverage_measured_ratio": CPU,
    "foreshadow_forecast_wide_coverage_promised_ratio": CPU,
    "foreshadow_forecast_wide_coverage_measured_ratio": CPU,
    "foreshadow_forecast_demand_points": each(
        "level", "0.1", "0.5", "0.9", base=each("horizon", "1h", "6h", "24h", base=CPU)
    ),
}
# What is not 1; web is short for some of the day.
VALUES = {
    "foreshadow_group_need_now": lambda labels, step: 12 if labels["group"] == "web" and step > 20 else 6,
    "foreshadow_group_serving": lambda labels, step: 10,
}


def described() -> set:
    """Every metric the aggregator has, by the place where it says what each is."""
    text = (REPOSITORY / "aggregator/src/telemetry.rs").read_text()
    return set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(foreshadow_\w+)"', text)) | {"up"}


def named(text: str) -> set:
    """The metrics that an expression asks for, without those that recording rules make."""
    return {name for name in re.findall(r"[\w:]+", text) if re.fullmatch(r"foreshadow_\w+|up", name)}


def made_up(job: str, hours=26, every=60) -> str:
    """OpenMetrics text with the time of each value, up to now."""
    now = int(time.time())
    times = range(now - hours * 3600, now + 1, every)
    lines = []
    for name, series in sorted(LABELS.items()):
        counter = name.endswith("_total")
        lines.append(f"# TYPE {name.removesuffix('_total')} {'counter' if counter else 'gauge'}")
        for labels in series:
            shown = ",".join(f'{key}="{value}"' for key, value in ({"job": job} | labels).items())
            value = VALUES.get(name, lambda _, step: step if counter else 1)
            if name.endswith("timestamp_seconds"):
                lines += [f"{name}{{{shown}}} {at} {at}" for at in times]
            else:
                lines += [f"{name}{{{shown}}} {value(labels, step)} {at}" for step, at in enumerate(times)]
    return "\n".join([*lines, "# EOF", ""])
