"""The lab: real arrays, file systems and mail stores, made and broken on purpose."""
