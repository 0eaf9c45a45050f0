//! `[safety]`: how fast machines may go and what must be waited for. Everything may be tighter than the
//! default; gentler is for a cloud on this very machine alone, and the checker sees to that.

use checker::Limits;
use foreshadow_agent::reader::{Reader, Section, want};

pub(super) fn read(reader: &mut Reader, root: &mut Section<'_>) -> Limits {
    let mut read = Limits::default();
    let mut section = root.section(reader, "safety");
    section.set(reader, "warm_up_seconds", &mut read.warm_up_seconds, want::count(0..=86_400));
    section.set(reader, "inventory_fresh_seconds", &mut read.inventory_fresh_seconds, want::count(1..=3_600));
    section.set(reader, "sample_fresh_seconds", &mut read.sample_fresh_seconds, want::count(1..=3_600));
    section.set(reader, "quiet_seconds", &mut read.quiet_seconds, want::count(0..=86_400));
    section.set(reader, "share_15_minutes", &mut read.share_15_minutes, want::number(0.0..=1.0));
    section.set(reader, "share_6_hours", &mut read.share_6_hours, want::number(0.0..=1.0));
    section.set(reader, "fleet_share", &mut read.fleet_share, want::number(0.0..=1.0));
    section.set(reader, "common_cause_share", &mut read.common_cause_share, want::number(0.0..=1.0));
    section.finish(reader);
    read
}
