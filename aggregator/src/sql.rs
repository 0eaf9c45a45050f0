//! Every SQL statement of the product by name, for the test that prepares each on PostgreSQL.

/// Name and text.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    crate::store::sql::ALL.iter().copied()
}
