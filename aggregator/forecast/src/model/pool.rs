//! The models that compete.

use std::sync::Arc;

use super::{Model, arima, climate, level, prophet, regression, seasonal, smoothing, trees};

/// Models in a fixed order, the seasonal floor first. Cheap to clone: all groups share one.
#[derive(Debug, Clone)]
pub struct Pool {
    models: Arc<[Arc<dyn Model>]>,
}

impl Default for Pool {
    /// The models that need nothing but the history.
    fn default() -> Self {
        let models: [Arc<dyn Model>; 12] = [
            Arc::new(seasonal::SeasonalNaive::DAY),
            Arc::new(seasonal::SeasonalNaive::WEEK),
            Arc::new(seasonal::EmpiricalSeasonal),
            Arc::new(level::Level),
            Arc::new(regression::Regression),
            Arc::new(climate::Climate),
            Arc::new(climate::FoundClimate),
            Arc::new(smoothing::Ets),
            Arc::new(smoothing::Mstl),
            Arc::new(trees::Trees),
            Arc::new(arima::AutoArima),
            Arc::new(prophet::Prophet::default()),
        ];
        Self { models: models.into() }
    }
}

impl Pool {
    /// The same pool and one model more, for instance a trained network. A model of the same name is replaced.
    #[must_use]
    pub fn with(&self, model: Arc<dyn Model>) -> Self {
        let mut models = self.models.to_vec();
        match models.iter_mut().find(|known| known.name() == model.name()) {
            Some(known) => *known = model,
            None => models.push(model),
        }
        Self { models: models.into() }
    }

    /// The one model of this name, alone; an empty pool when there is none.
    #[must_use]
    pub fn only(&self, name: &str) -> Self {
        Self { models: self.models.iter().filter(|model| model.name() == name).cloned().collect() }
    }

    /// The models that take part without being asked for by name.
    #[must_use]
    pub fn competing(&self) -> Self {
        Self { models: self.models.iter().filter(|model| !model.on_request()).cloned().collect() }
    }

    /// The models in their order.
    pub fn models(&self) -> impl Iterator<Item = &dyn Model> {
        self.models.iter().map(AsRef::as_ref)
    }

    /// Their names in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models().map(Model::name)
    }

    /// The model of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Model> {
        self.models().find(|model| model.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_from_outside_joins_last_and_replaces_its_namesake() {
        let pool = Pool::default();
        let count = pool.models().count();
        let again = pool.with(Arc::new(level::Level));
        assert_eq!(again.models().count(), count);
        let alone = pool.only("level");
        assert_eq!(alone.names().collect::<Vec<_>>(), ["level"]);
        let joined = alone.with(Arc::new(climate::Climate));
        assert_eq!(joined.names().collect::<Vec<_>>(), ["level", "climate"]);
        let competing = pool.competing();
        assert!(competing.get("prophet").is_none() && competing.get("auto_arima").is_some());
        assert!(joined.get("regression").is_none() && pool.only("crystal_ball").models().next().is_none());
    }
}
