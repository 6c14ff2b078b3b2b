"""How other people's code is kept in: bubblewrap, control groups, resource limits, interpreters.

Ground floor: knows no Space and no database, so that builds and workers run in the same sandbox.

- `bubblewrap.Sandbox` says what a process may see; `launch.start` runs one.
- `cgroups` limits and ends a tree of processes, on version 1 and version 2.
- `interpreters.find_interpreters` finds the Pythons of this machine.
- `report.machine_report` tries all of it and says what holds here.
"""
