//! What a route does when things go wrong, beside the phases that do it: bodies that can be sent again or end in time,
//! and what a route's policies are compiled to.

pub mod cut;
pub mod fault;
pub mod gate;
pub mod plan;
pub mod replay;
