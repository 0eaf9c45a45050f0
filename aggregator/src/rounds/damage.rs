//! Reading of many instances what can be read, where something of them is damaged.

use foreshadow_proto::convert::Id;

use crate::store::StoreError;

/// What was read, and of whom nothing could be, each with the reason.
#[derive(Debug)]
pub struct Around<T> {
    pub read: Vec<T>,
    pub lost: Vec<(Vec<Id>, String)>,
}

/// Reads these instances so many at once. What is damaged is looked for by halves: of a thousand with one that cannot be read twenty
/// parts are read and not a thousand.
pub async fn around_damage<T, R>(
    instances: &[Id],
    at_once: usize,
    read: impl Fn(Vec<Id>) -> R,
) -> Result<Around<T>, StoreError>
where
    R: Future<Output = Result<Vec<T>, StoreError>>,
{
    let mut around = Around { read: Vec::new(), lost: Vec::new() };
    let mut damaged = Vec::new();
    for some in instances.chunks(at_once.max(1)) {
        match read(some.to_vec()).await {
            Ok(found) => around.read.extend(found),
            Err(StoreError::Corrupt(problem)) => damaged.push((some, problem)),
            Err(error) => return Err(error),
        }
    }
    while let Some((some, problem)) = damaged.pop() {
        if some.len() == 1 {
            around.lost.push((some.to_vec(), problem));
            continue;
        }
        let (one, other) = some.split_at(some.len() / 2);
        let mut failed = Vec::new();
        for half in [one, other] {
            match read(half.to_vec()).await {
                Ok(found) => around.read.extend(found),
                Err(StoreError::Corrupt(problem)) => failed.push((half, problem)),
                Err(error) => return Err(error),
            }
        }
        // A chunk is of one instance: what both halves meet is in a commit, and of everybody.
        if let [(_, first), (_, second)] = failed.as_slice()
            && first == second
        {
            around.lost.push((some.to_vec(), problem));
            continue;
        }
        damaged.extend(failed);
    }
    Ok(around)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn instances(count: usize) -> Vec<Id> {
        (0..count).map(|number| Id::new("instance", &format!("i-{number}")).expect("an id")).collect()
    }

    #[tokio::test]
    async fn of_a_thousand_with_two_that_are_damaged_the_others_are_read_in_some_forty_parts() {
        let (all, parts) = (instances(1_000), Cell::new(0));
        let damaged = [all[77].clone(), all[901].clone()];
        let around = around_damage(&all, 1_000, |some| {
            parts.set(parts.get() + 1);
            std::future::ready(match some.iter().find(|instance| damaged.contains(instance)) {
                Some(instance) => Err(StoreError::Corrupt(format!("chunk {instance}"))),
                None => Ok(some),
            })
        })
        .await
        .expect("reads");
        let mut lost = around.lost;
        lost.sort();
        assert_eq!(lost, damaged.map(|instance| (vec![instance.clone()], format!("chunk {instance}"))));
        assert_eq!(around.read.len(), 998);
        assert!(parts.get() <= 41, "{} parts", parts.get());
    }

    #[tokio::test]
    async fn what_is_of_everybody_is_not_looked_for_in_each() {
        let (all, parts) = (instances(1_000), Cell::new(0));
        let around = around_damage(&all, 1_000, |_| {
            parts.set(parts.get() + 1);
            std::future::ready(Err::<Vec<Id>, _>(StoreError::Corrupt("tick 5".to_owned())))
        })
        .await
        .expect("reads");
        assert_eq!((around.lost, parts.get()), (vec![(all, "tick 5".to_owned())], 3));
    }

    #[tokio::test]
    async fn what_is_no_damage_is_an_error() {
        let refused = || Err::<Vec<Id>, _>(StoreError::Database(sqlx::Error::PoolClosed));
        let around = around_damage(&instances(2), 2, |_| std::future::ready(refused())).await;
        assert!(matches!(around, Err(StoreError::Database(_))));
    }
}
