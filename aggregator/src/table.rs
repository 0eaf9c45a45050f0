//! Tables for people: each column as wide as what stands in it, the last one as long as it is.

/// Lines below one header line; columns are two blanks apart.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    but(head, rows.into_iter().collect(), &[])
}

/// The same without those columns that say nothing: of each of `plain` whose every cell is the one beside it.
pub fn but<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, plain: &[(&str, &str)]) -> String {
    let says = |column: &usize| {
        let plain = plain.iter().find(|(name, _)| head.get(*column) == Some(name)).map(|(_, cell)| *cell);
        plain.is_none() || rows.iter().any(|row| row.get(*column).map(String::as_str) != plain)
    };
    let kept: Vec<usize> = (0..N).filter(says).collect();
    let of = |row: &[String]| kept.iter().filter_map(|column| row.get(*column).cloned()).collect::<Vec<String>>();
    let heads = of(&head.map(str::to_owned));
    lines(std::iter::once(heads).chain(rows.iter().map(|row| of(row))).collect())
}

fn lines(rows: Vec<Vec<String>>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_one_another() {
        let row = |one: &str, other: &str| [one.to_owned(), other.to_owned()];
        assert_eq!(table(["group", "why"], [row("a", "b"), row("größer", "")]), "group   why\na       b\ngrößer\n");
        let rows = vec![row("a", "-"), row("b", "-")];
        assert_eq!(but(["group", "why"], rows.clone(), &[("why", "-")]), "group\na\nb\n");
        assert_eq!(but(["group", "why"], rows, &[("why", "b")]).lines().next(), Some("group  why"));
    }
}
