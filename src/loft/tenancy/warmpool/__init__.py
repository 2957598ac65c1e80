"""Virtual clusters that run before anybody asks for one."""
