pub(crate) fn on_postgres() {}
