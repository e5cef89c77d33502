"""What every part stands on: errors, seeds, files, progress, plug-ins, packages. No torch."""
