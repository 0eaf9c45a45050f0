//! What a plan's evidence takes in memory. A process of its own: what others allocate beside it would count.

#[path = "../benches/groups/mod.rs"]
mod groups;

#[test]
fn the_evidence_of_a_group_takes_no_more_memory_than_is_promised() {
    let (evidence, each) = groups::all();
    println!("{} groups of {}: {each} bytes each", evidence.len(), groups::INSTANCES);
    // The paths alone, of two metrics: with less, nothing was measured.
    assert!(each >= 2 * 11 * 288 * 8, "{each} bytes");
    assert!(each <= groups::BYTES, "{each} bytes, more than {}", groups::BYTES);
}
