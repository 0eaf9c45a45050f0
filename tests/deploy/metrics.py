"""What rules and dashboards ask for, and the labels that they go by."""

import re

from product import REPOSITORY

# Of every metric, the labels that each of its series has beside job and instance.
LABELS = {
    "up": set(),
    "foreshadow_build_info": {"version"},
    "foreshadow_rounds_total": set(),
    "foreshadow_rounds_failed_total": set(),
    "foreshadow_invariant_violations_total": {"invariant"},
    "foreshadow_samples_stored_total": set(),
    "foreshadow_samples_duplicate_total": set(),
    "foreshadow_samples_rejected_total": {"reason"},
    "foreshadow_batches_turned_away_total": set(),
    "foreshadow_slow_agents_total": set(),
    "foreshadow_agent_streams": set(),
    "foreshadow_enrolments_total": set(),
    "foreshadow_enrolments_refused_total": set(),
    "foreshadow_certificates_issued_total": set(),
    "foreshadow_influxdb_dropped_total": set(),
    "foreshadow_rollups_damaged_total": set(),
    "foreshadow_samples_retracted_total": set(),
    "foreshadow_second_claims_total": set(),
    "foreshadow_second_claims_with_token_total": set(),
    "foreshadow_second_claims_with_document_total": set(),
    "foreshadow_forged_instance_ids_total": set(),
    "foreshadow_notices_total": {"by", "outcome"},
    "foreshadow_letters_total": {"was"},
    "foreshadow_queue_read": set(),
    "foreshadow_claims_disagree": set(),
    "foreshadow_claims_disagreed_total": set(),
    "foreshadow_inventory_complete": {"source"},
    "foreshadow_intents_settled_total": {"action", "outcome"},
    "foreshadow_shadow_sessions_changed_total": set(),
    "foreshadow_shadows_released_total": {"group"},
    "foreshadow_clock_jumps_total": set(),
    "foreshadow_influxdb_failures_total": set(),
    "foreshadow_influxdb_lag_ticks": set(),
    "foreshadow_group_planned_timestamp_seconds": {"group"},
    "foreshadow_group_serving": {"group"},
    "foreshadow_group_never_ready": {"group"},
    "foreshadow_stranded_shadows": set(),
    "foreshadow_shadows_overdue": set(),
    "foreshadow_group_need_now": {"group"},
    "foreshadow_group_need_ahead": {"group"},
    "foreshadow_group_reporting": {"group"},
    "foreshadow_group_minimum": {"group"},
    "foreshadow_group_maximum": {"group"},
    "foreshadow_group_instances": {"group", "mode"},
    "foreshadow_group_mode": {"group", "mode"},
    "foreshadow_group_hold": {"group", "hold"},
    "foreshadow_lead_seconds": {"group", "change"},
    "foreshadow_demand_points": {"group", "metric"},
    "foreshadow_idle_baseline_points": {"group", "metric"},
    "foreshadow_forecast_trust": {"group", "metric"},
    "foreshadow_forecast_trained_timestamp_seconds": {"group", "metric"},
    "foreshadow_forecast_coverage_promised_ratio": {"group", "metric"},
    "foreshadow_forecast_coverage_measured_ratio": {"group", "metric"},
    "foreshadow_forecast_wide_coverage_promised_ratio": {"group", "metric"},
    "foreshadow_forecast_wide_coverage_measured_ratio": {"group", "metric"},
    "foreshadow_forecast_demand_points": {"group", "metric", "horizon", "level"},
}


def described() -> set:
    """Every metric the aggregator has, by the place where it says what each is."""
    text = (REPOSITORY / "aggregator/src/telemetry.rs").read_text()
    return set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(foreshadow_\w+)"', text)) | {"up"}


def named(text: str) -> set:
    """The metrics that an expression asks for, without those that recording rules make."""
    return {name for name in re.findall(r"[\w:]+", text) if re.fullmatch(r"foreshadow_\w+|up", name)}


def later(expression: str) -> int:
    """How long after a scrape an expression first meets what was scraped: what it looks back by, seconds."""
    lengths = re.findall(r"offset (\d+)([smhd])", expression)
    return sum(int(length) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for length, unit in lengths)
