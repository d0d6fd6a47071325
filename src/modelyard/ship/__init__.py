"""Put it somewhere: bundles become images, images run on targets, bundles travel. `control/actions` calls it."""
