//! Every SQL statement of the product by name, for the test that prepares each on PostgreSQL.

/// Name and text.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = [
        crate::store::sql::ALL,
        crate::observe::sql::ALL,
        crate::shadow::sql::ALL,
        crate::rounds::sql::ALL,
        crate::identity::sql::ALL,
        crate::act::sql::ALL,
        crate::leash::sql::ALL,
        crate::events::sql::ALL,
        crate::decision::sql::ALL,
        crate::import::sql::ALL,
        crate::readings::sql::ALL,
        crate::notify::sql::ALL,
    ];
    all.into_iter().flatten().copied()
}
