//! The layers, one over the other: file, environment, command line.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::key::{self, Section};
use super::problem::{Complaint, ConfigError, Origin, Problem};
use super::setting::Setting;
use super::values::typed;
use super::{Cli, Config, environment, file};

/// Settings that are wrong and told one by one.
const MOST_TOLD: usize = 20;

/// Settings, and who set them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Only of keys that somebody set.
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Reads all layers. May be called again later: the file is read anew.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn new(cli: &Cli) -> Result<Self, ConfigError> {
        Self::with_environment(cli, std::env::vars_os())
    }

    pub(super) fn with_environment(
        cli: &Cli,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let sections = key::sections();
        let mut settings = match &cli.config {
            Some(path) => file::read(path)?,
            None => Vec::new(),
        };
        let environment = environment::read(variables, &sections);
        settings.extend(environment.map_err(|problem| ConfigError::Problems(vec![problem]))?);
        // A certificate on the command line comes with its own key.
        if cli.cert.is_some() || cli.key.is_some() {
            settings.retain(|setting| !["relay.cert", "relay.key"].contains(&&*setting.key));
        }
        settings.extend(cli.settings());
        Self::from_settings(settings, &sections)
    }

    /// The later of two settings of a key wins.
    fn from_settings(settings: Vec<Setting>, sections: &[Section]) -> Result<Self, ConfigError> {
        let mut wrong = settings.iter().filter(|setting| setting.is_wrong(sections));
        // To say what was meant takes a comparison with every key.
        let told = wrong.by_ref().take(MOST_TOLD);
        let problems: Vec<_> = told.filter_map(|setting| setting.problem(sections)).collect();
        match (problems.is_empty(), wrong.count()) {
            (true, _) => {}
            (false, 0) => return Err(ConfigError::Problems(problems)),
            (false, more) => return Err(ConfigError::TooMany { told: problems, more }),
        }
        let set: BTreeMap<_, _> = settings
            .into_iter()
            .filter(|setting| !setting.is_empty_table())
            .map(|setting| (setting.key, (setting.value, setting.origin)))
            .collect();
        let config = typed(set.iter().map(|(key, (value, _))| (&**key, value)));
        let config = config.map_err(|error| {
            let text = error.message().to_owned();
            ConfigError::Problems(vec![Problem { keys: Vec::new(), text }])
        })?;
        let origins = set.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
        let loaded = Self { config, origins };
        let problems: Vec<_> =
            loaded.config.check().into_iter().map(|found| loaded.located(found)).collect();
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError::Problems(problems)) }
    }

    /// Who set the key.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// How many keys are set by somebody.
    pub(super) fn keys_set(&self) -> usize {
        self.origins.len()
    }

    /// The complaint with the places of its values.
    pub(super) fn located(&self, complaint: Complaint) -> Problem {
        let keys = complaint.keys.into_iter().map(|key| (key.to_owned(), self.origin(key)));
        Problem { keys: keys.collect(), text: complaint.text }
    }
}
