"""What every component must do, as checks that anybody can run on theirs: `serbench conformance PACKAGE`."""
