//! A few connections for reading, used off the async threads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tutti_ports::state::StateError;

use super::error::{Closed, OpenError};
use super::schema;

/// The pool. A read waits for a free connection.
pub struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    size: u32,
}

/// A borrowed connection; goes back when dropped, also when the read panics.
struct Borrowed {
    conn: Option<Connection>,
    home: Arc<Mutex<Vec<Connection>>>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        home.extend(self.conn.take());
    }
}

impl Readers {
    /// Opens the connections.
    pub fn open(path: &Path, size: usize) -> Result<Self, OpenError> {
        let size = size.clamp(1, 64);
        let idle = (0..size).map(|_| schema::open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(idle.len())),
            idle: Arc::new(Mutex::new(idle)),
            size: u32::try_from(size).unwrap_or(1),
        })
    }

    /// Reads on a blocking thread. A caller that goes away does not stop the read.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Closed)?;
        let home = Arc::clone(&self.idle);
        let read = tokio::task::spawn_blocking(move || {
            let conn = home.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut borrowed = Borrowed { conn, home };
            let result = borrowed.conn.as_mut().ok_or_else(|| Closed.into()).and_then(work);
            // First the connection, then the right to one.
            drop(borrowed);
            drop(permit);
            result
        });
        read.await.unwrap_or_else(|error| Err(StateError::Engine(Box::new(error))))
    }

    /// Lets the reads that run end and closes the connections. Those that come wait until [`Readers::resume`], or until what is
    /// given back is dropped, and then find nothing to read from.
    pub async fn suspend(&self) -> Option<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.permits).acquire_many_owned(self.size).await.ok()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Some(all)
    }

    /// Opens the connections again, for those who come when what [`Readers::suspend`] gave is dropped.
    pub fn resume(&self, path: &Path) -> Result<(), OpenError> {
        let opened = (0..self.size).map(|_| schema::open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(())
    }

    /// Lets the reads that wait or run end, refuses new ones, and closes the connections.
    pub async fn close(&self) {
        let all = self.permits.acquire_many(self.size).await;
        self.permits.close();
        drop(all);
        self.close_idle();
    }

    /// Closes the connections that are not in use.
    pub fn close_idle(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
