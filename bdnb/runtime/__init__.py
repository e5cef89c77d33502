"""What every part stands on: errors, seeds, files, progress, plug-ins, npm packages. No torch."""
