from chassis import migrate

migrate.run()
