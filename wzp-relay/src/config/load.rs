//! The layers, one over the other: file, environment, command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::key::{self, Section};
use super::problem::{Complaint, ConfigError, Origin, Problem};
use super::setting::Setting;
use super::values::typed;
use super::{Config, Flags, environment, file, files};

/// What each layer says, before it is known to be right.
struct Layers {
    /// Of the file.
    path: Option<PathBuf>,
    /// The lowest, if it can be read.
    file: Result<Vec<Setting>, ConfigError>,
    /// Those over it, the lower first.
    above: Vec<Setting>,
    /// Variables that are none, or not readable.
    problems: Vec<Problem>,
    warning: Option<String>,
}

impl Layers {
    fn read(
        flags: &Flags,
        variables: impl Iterator<Item = (OsString, OsString)>,
        sections: &[Section],
    ) -> Self {
        let environment = environment::read(variables, sections);
        let warning = environment.warning();
        let path = flags.config.clone().or(environment.file);
        let mut file = path.as_deref().map_or_else(|| Ok(Vec::new()), file::read);
        let mut above = environment.long;
        let given: Vec<_> = environment.short.into_iter().chain(flags.settings()).collect();
        // A certificate that is given this way comes with its own key.
        let is_identity = |setting: &Setting| ["relay.cert", "relay.key"].contains(&&*setting.key);
        if given.iter().any(is_identity) {
            above.retain(|setting| !is_identity(setting));
            if let Ok(settings) = &mut file {
                settings.retain(|setting| !is_identity(setting));
            }
        }
        above.extend(given);
        Self { path, file, above, problems: environment.problems, warning }
    }

    /// The state directory that is in force as far as these can be read.
    fn state_dir(&self) -> Option<PathBuf> {
        let mut all = self.file.iter().flatten().chain(&self.above);
        let last = all.rfind(|setting| setting.key == "relay.state_dir")?;
        last.value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from)
    }
}

/// The state directory of a relay that may be running, which a configuration that is
/// wrong by now keeps nobody from. It then counts only where it is said: the default could
/// be that of another relay.
#[derive(Debug)]
pub struct StateDir {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with the rest.
    pub problem: Option<ConfigError>,
}

impl StateDir {
    /// Reads all layers.
    ///
    /// # Errors
    /// Something is wrong, and no layer that can be read says `relay.state_dir`.
    pub fn find(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with_environment(flags, std::env::vars_os())
    }

    pub(crate) fn with_environment(
        flags: &Flags,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let sections = key::sections();
        let layers = Layers::read(flags, variables, &sections);
        let said = layers.state_dir();
        match (Loaded::from_layers(layers, &sections), said) {
            (Ok(loaded), _) => Ok(Self { path: loaded.config.relay.state_dir, problem: None }),
            (Err(problem), Some(path)) => Ok(Self { path, problem: Some(problem) }),
            (Err(problem), None) => Err(problem),
        }
    }
}

/// Settings that are wrong and told one by one.
const MOST_TOLD: usize = 20;

/// Settings, and who set them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration in force: all layers together.
    pub config: Config,
    /// What was left alone on the way, and why.
    pub warnings: Vec<String>,
    /// Only of keys that somebody set.
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Reads all layers. May be called again: it reads the file each time.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn new(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with_environment(flags, std::env::vars_os())
    }

    pub(crate) fn with_environment(
        flags: &Flags,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let sections = key::sections();
        Self::from_layers(Layers::read(flags, variables, &sections), &sections)
    }

    /// The later of two settings of a key wins.
    fn from_layers(layers: Layers, sections: &[Section]) -> Result<Self, ConfigError> {
        let Layers { path, file, above, mut problems, warning } = layers;
        let settings: Vec<_> = file?.into_iter().chain(above).collect();
        let mut wrong = settings.iter().filter(|setting| setting.is_wrong(sections));
        // To say what was meant takes a comparison with every key.
        let told = wrong.by_ref().take(MOST_TOLD);
        problems.extend(told.filter_map(|setting| setting.problem(sections)));
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
        let loaded = Self { config, warnings: warning.into_iter().collect(), origins };
        let mut found = loaded.config.check();
        found.extend(files::check(&loaded.config, path.as_deref()));
        let problems: Vec<_> = found.into_iter().map(|found| loaded.located(found)).collect();
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError::Problems(problems)) }
    }

    /// Who set the key.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// How many keys are set by somebody.
    pub(crate) fn keys_set(&self) -> usize {
        self.origins.len()
    }

    /// The complaint with the places of its values.
    pub(crate) fn located(&self, complaint: Complaint) -> Problem {
        let keys = complaint.keys.into_iter().map(|key| (key.to_owned(), self.origin(key)));
        Problem { keys: keys.collect(), text: complaint.text }
    }
}
