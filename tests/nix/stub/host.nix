# What stands in for compiled packages: programs of the machine that runs the tests, which writes its own in here.
{
  python = "/usr/bin/python3";
}
