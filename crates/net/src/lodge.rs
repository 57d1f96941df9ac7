//! Boxes for futures that are large and soon over, such as what happens to one request. The memory of one serves for the next on the
//! same thread: the allocator would search for so much each time, and this is still in the cache.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Most pieces of memory that a thread keeps.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) };
}

/// A piece of memory that is nobody's.
struct Piece {
    at: NonNull<u8>,
    /// Not of size 0.
    layout: Layout,
}

impl Piece {
    /// What was given back last of those that fit.
    fn take(layout: Layout) -> Self {
        let kept = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            let at = free.iter().rposition(|piece| piece.layout == layout)?;
            Some(free.swap_remove(at))
        });
        // At the end of a thread there is nothing any more.
        if let Ok(Some(piece)) = kept {
            return piece;
        }
        #[expect(unsafe_code, reason = "the standard library's boxes cannot be emptied and filled again")]
        // SAFETY: the size is not 0, see `lodge`.
        let at = unsafe { alloc(layout) };
        let Some(at) = NonNull::new(at) else { handle_alloc_error(layout) };
        Self { at, layout }
    }

    fn give(self) {
        let mut piece = Some(self);
        // As above; what is not kept is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() >= KEPT {
                // Not the new one: what nobody asks for must not stay for ever.
                free.swap_remove(0);
            }
            free.extend(piece.take());
        });
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as it was allocated")]
        // SAFETY: it was allocated with this layout, and is nobody's.
        unsafe {
            dealloc(self.at.as_ptr(), self.layout);
        }
    }
}

/// A future in a box.
pub struct Lodged<F> {
    /// `None` only while it is dropped. Holds a value of `F` at its beginning, which is never moved.
    piece: Option<Piece>,
    _owned: PhantomData<F>,
}

#[expect(unsafe_code, reason = "as above")]
// SAFETY: memory is of no thread, and belongs to this alone; the thread that drops it keeps it.
unsafe impl<F: Send> Send for Lodged<F> {}

/// Puts a future into a box. It is made there: one that was made elsewhere would be moved with all the room that it has for later.
#[inline(always)]
pub fn lodge<F: Future>(make: impl FnOnce() -> F) -> Lodged<F> {
    const { assert!(size_of::<F>() > 0, "what holds nothing needs no box") };
    let piece = Piece::take(Layout::new::<F>());
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: the piece has the layout of `F` and is nobody else's.
    unsafe {
        piece.at.cast::<F>().write(make());
    }
    Lodged { piece: Some(piece), _owned: PhantomData }
}

impl<F: Future> Future for Lodged<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(piece) = &self.piece else { return Poll::Pending };
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: it holds an `F`, which stays where it is until it is dropped there; and nobody else has it meanwhile.
        let future = unsafe { Pin::new_unchecked(piece.at.cast::<F>().as_mut()) };
        future.poll(cx)
    }
}

// Moving it moves a pointer.
impl<F> Unpin for Lodged<F> {}

impl<F> Drop for Lodged<F> {
    fn drop(&mut self) {
        let Some(piece) = self.piece.take() else { return };
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: it holds an `F`, which nobody uses after this. If this panics, the piece is freed and not kept.
        unsafe {
            piece.at.cast::<F>().drop_in_place();
        }
        piece.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::rc::Rc;

    fn poll<F: Future>(future: &mut Lodged<F>) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    fn address<F>(future: &Lodged<F>) -> *mut u8 {
        future.piece.as_ref().unwrap().at.as_ptr()
    }

    #[test]
    fn the_next_of_the_same_size_gets_the_same_memory() {
        let of = |n: u64| lodge(move || async move { n + ready(n).await });
        let mut first = of(1);
        let at = address(&first);
        assert_eq!(poll(&mut first), Poll::Ready(2));
        let second = of(2);
        assert_ne!(address(&second), at);
        drop(first);
        let mut third = of(3);
        assert_eq!(address(&third), at);
        assert_eq!(poll(&mut third), Poll::Ready(6));
        // Of another size and alignment: not this memory.
        drop(third);
        let other = lodge(|| ready([0_u128; 9]));
        assert_ne!(address(&other), at);
        assert_eq!(address(&other) as usize % align_of::<u128>(), 0);
    }

    #[test]
    fn what_is_given_up_is_dropped_once() {
        let held = Rc::new(());
        let all: Vec<_> = (0..3 * KEPT)
            .map(|_| {
                let held = Rc::clone(&held);
                lodge(move || async move {
                    pending::<()>().await;
                    drop(held);
                })
            })
            .map(|mut future| {
                assert!(poll(&mut future).is_pending());
                future
            })
            .collect();
        assert_eq!(Rc::strong_count(&held), 1 + 3 * KEPT);
        drop(all);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(FREE.with_borrow(|free| (1..=KEPT).contains(&free.len())));
    }

    #[test]
    fn a_panic_on_the_way_out_keeps_nothing() {
        struct Bad(u64);
        impl Future for Bad {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                Poll::Pending
            }
        }
        impl Drop for Bad {
            fn drop(&mut self) {
                assert_eq!(self.0, 0);
            }
        }
        let future = lodge(|| Bad(7));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(future))).is_err());
        assert!(FREE.with_borrow(Vec::is_empty));
    }
}
