"""Programs: stored by content, checked, compiled under limits, loaded (`programs`); and made from Python (`build`)."""
