//! How each service is run, as it was found out last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tutti_core::{ServiceName, code};
use tutti_model::app::Service;

use crate::diagnose::StartFailure;
use crate::infer::{self, Cannot, Plan, Toolbox, Workshop};
use crate::options::Options;

/// Plans by service.
#[derive(Default)]
pub(crate) struct Plans {
    known: Mutex<HashMap<ServiceName, Arc<Plan>>>,
}

impl Plans {
    /// The plan that was made last.
    pub(crate) fn get(&self, service: &ServiceName) -> Option<Arc<Plan>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }

    /// Finds out how to run a service, and remembers it. Reads files.
    pub(crate) fn make(
        &self,
        service: &Service,
        project: &std::path::Path,
        options: &Options,
    ) -> Result<Arc<Plan>, StartFailure> {
        let path = options.operator_env.get("PATH").map_or("", String::as_str);
        let workshop = Workshop { folder: options.data_dir.join("setup").join(service.name.as_str()) };
        let plan = infer::plan(service, project, &workshop, &Toolbox::new(path)).map_err(cannot)?;
        let plan = Arc::new(plan);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(service.name.clone(), Arc::clone(&plan));
        Ok(plan)
    }
}

fn cannot(why: Cannot) -> StartFailure {
    let code = match why {
        Cannot::NoFolder { .. } => code::FOLDER_MISSING,
        Cannot::Toolchain { .. } => code::PROGRAM_NOT_FOUND,
        Cannot::Engine { .. } | Cannot::Image { .. } | Cannot::Foreign { .. } | Cannot::NoIdea { .. } => {
            code::NO_COMMAND
        }
    };
    StartFailure::lasting(code, format!("{why}; {}", why.remedy()))
}
