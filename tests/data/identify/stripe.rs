use countersign::Scheme;

pub fn scheme() -> Scheme {
    Scheme::stripe()
}
